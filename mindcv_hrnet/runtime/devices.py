"""Which device a process computes on, and what is missing where a device does not work.

`device_target` is a recipe key: a name must work, `auto` takes the best that does. An NPU that is there and cannot be
used is an error all the same: a job for eight Ascends that trains on a CPU, because nobody has sourced CANN's
environment, would be noticed a day later.
"""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mindcv_hrnet.errors import ConfigError

CANN_VERSIONS = ("8.2", "8.3", "8.5", "9.0", "9.1")
"""Releases that MindSpore 2.10 accepts; its own kernels are compiled against 9.1 (`mindspore/run_check`)."""

CANN_TELLS = "compiler/version.info"
"""Where CANN tells its version, below ASCEND_HOME_PATH; MindSpore reads it there, too."""

# Python packages of CANN itself; its set_env.sh puts them on PYTHONPATH. Graphs need te, more than one rank needs hccl
CANN_MODULES = ("te", "hccl")
# What those import, and what `pip install .[ascend]` brings: CANN's "Runtime Dependencies", less what MindSpore has
CANN_IMPORTS = ("attr", "cffi", "decorator", "sympy", "yaml", "pathlib2", "psutil", "scipy", "requests", "absl")

INSIST = "pass --device_target CPU to compute on the CPU all the same"


def choose_device(target: str, ranks: int = 1) -> str:
    """The device for one of `ranks` processes: `target` when it works, for "auto" the best that does.

    Raises ConfigError that says what is missing: for a named device; for an NPU that is there; for several ranks on a
    machine without accelerator, unless the CPU was named.
    """
    if target != "auto":
        found = refusal(target)
        if found is None:
            return target
        missing = "; ".join(missing_for(target) or [found])
        raise ConfigError(
            f"device_target {target} does not work here: {missing}; "
            "use --device_target CPU, or auto for the best device that works"
        )
    found = refusal("Ascend")
    if found is None:
        return "Ascend"
    signs = signs_of_npu()
    if signs:
        missing = "; ".join(missing_for("Ascend") or [found])
        raise ConfigError(
            f"an NPU is here ({', '.join(signs)}), but MindSpore cannot use it: {missing}; "
            f"'mindcv-hrnet doctor' shows more; {INSIST}"
        )
    if refusal("GPU") is None:
        return "GPU"
    if ranks > 1:
        hint = "; ".join(missing_for("GPU")) if signs_of_gpu() else ""
        raise ConfigError(
            f"{ranks} ranks were started, but no NPU or GPU works here{f' ({hint})' if hint else ''}; {INSIST}"
        )
    return "CPU"


def refusal(device: str) -> str | None:
    """What MindSpore says where it cannot use `device`, as one clause; None where it can."""
    import mindspore as ms

    # quiet: asking for a device that is not there is no error
    if not ms.hal.is_available(device):
        return _loader_error(device)
    try:
        if ms.hal.device_count(device) > 0:
            return None
    except RuntimeError as error:  # the plugin loads, the driver below it does not answer
        return _first_words(str(error))
    return f"the driver reports no {device} device"


def _loader_error(device: str) -> str:
    """What the loader of MindSpore's device plugins complains of, as one clause."""
    try:
        # MindSpore's public calls only log it, at a level that is switched off here
        from mindspore._c_expression import MSContext

        report = MSContext.get_instance().load_plugin_error()
    except (ImportError, AttributeError):
        report = ""
    plugin = f"libmindspore_{device.lower()}.so"
    for line in report.splitlines():
        if plugin in line and "failed." in line:
            return str(line.split("failed.", 1)[1].strip().rstrip("."))
    return f"MindSpore has not loaded its {device} plugin"


def _first_words(message: str) -> str:
    """The first line of an error that says something; MindSpore frames them in rules and headings."""
    lines = (line.strip() for line in message.splitlines())
    words = (line for line in lines if line and not line.startswith("-") and not line.endswith("error:"))
    return next(words, "no reason given").rstrip(".")


def signs_of_npu(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[str]:
    """What shows that this machine should compute on an NPU: device files, the driver's tool, CANN's environment."""
    files = sorted(root.glob("dev/davinci[0-9]*"))
    signs = [f"{len(files)} x /dev/davinci*"] if files else []
    signs += ["npu-smi"] if shutil.which("npu-smi", path=environ.get("PATH", "")) else []
    return signs + (["ASCEND_HOME_PATH"] if environ.get("ASCEND_HOME_PATH") else [])


def signs_of_gpu(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[str]:
    """What shows that an NVIDIA GPU is here: its device file, or the driver's tool."""
    files = sorted(root.glob("dev/nvidia[0-9]*"))
    signs = [f"{len(files)} x /dev/nvidia*"] if files else []
    return signs + (["nvidia-smi"] if shutil.which("nvidia-smi", path=environ.get("PATH", "")) else [])


def missing_for(device: str, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[str]:
    """What `device` lacks on this machine, one clause each with its remedy; empty where nothing obvious does."""
    return {"Ascend": _missing_for_ascend, "GPU": _missing_for_gpu}[device](environ, root)


def _missing_for_ascend(environ: Mapping[str, str], root: Path) -> list[str]:
    missing = []
    if not any(root.glob("dev/davinci[0-9]*")):
        missing.append("no /dev/davinci* (install the driver and firmware; in a container pass the devices on)")
    home = environ.get("ASCEND_HOME_PATH")
    if not home:
        scripts = cann_scripts(environ, root)
        how = f"source {scripts[0]}" if scripts else f"install CANN {CANN_VERSIONS[-1]} and source its set_env.sh"
        return [*missing, f"CANN's environment is not set ({how})"]
    version = cann_version(Path(home))
    if version is not None and version not in CANN_VERSIONS:
        missing.append(f"CANN {version} is installed (this MindSpore takes {', '.join(CANN_VERSIONS)})")
    absent = [name for name in CANN_MODULES if not _importable(name)]
    if absent:
        missing.append(f"CANN's Python packages {', '.join(absent)} are not found (source set_env.sh in this shell)")
    absent = [name for name in CANN_IMPORTS if not _importable(name)]
    if absent:
        missing.append(
            f"Python packages that CANN imports are not installed: {', '.join(absent)} (pip install '.[ascend]')"
        )
    return missing


def _missing_for_gpu(environ: Mapping[str, str], root: Path) -> list[str]:
    if not signs_of_gpu(environ, root):
        return ["no GPU driver here (no /dev/nvidia*, no nvidia-smi)"]
    if not environ.get("CUDA_HOME"):
        return ["CUDA_HOME is not set (pip install '.[gpu]', then source scripts/gpu_environment.sh)"]
    return []


def cann_scripts(environ: Mapping[str, str], root: Path = Path("/")) -> list[Path]:
    """CANN's set_env.sh where its installer puts it: for all users, or below the home folder."""
    places = [root / "usr/local/Ascend", Path(environ.get("HOME", "/nonexistent")) / "Ascend"]
    return [
        path
        for place in places
        for name in ("cann", "ascend-toolkit")
        if (path := place / name / "set_env.sh").is_file()
    ]


def cann_version(home: Path) -> str | None:
    """ "9.1" of the CANN at `home`; None where it has no file that tells, which MindSpore lets pass."""
    with contextlib.suppress(OSError):
        for line in (home / CANN_TELLS).read_text(encoding="utf-8").splitlines():
            if line.startswith("Version="):
                return ".".join(line.partition("=")[2].strip().split(".")[:2])
    return None


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
