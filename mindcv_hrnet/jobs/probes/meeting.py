"""MPI, and two ranks that really start, meet and add up a number."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding

PLUGIN = "libmpi_collective.so"
PATIENCE_S = 120
_MEET = (
    "import os; os.environ['GLOG_v'] = '4'; import numpy as np; "
    "from mindcv_hrnet.runtime.distributed import connect, leave_job, sum_over_ranks; "
    "c = connect(device_target='CPU', distribute=True); "
    "print('met', int(sum_over_ranks(np.ones(1, np.float32), c)[0]), flush=True); leave_job(0)"
)
INSTALL = "pip install '.[mpi]', or start with msrun, which needs no MPI"


def mpi(environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """mpirun, mpi4py, and MindSpore's own MPI library, which carries the ranks' addresses on Ascend and GPU."""
    program = shutil.which("mpirun", path=environ.get("PATH", ""))
    if program is None:
        return [Finding(YELLOW, "mpi", "no mpirun on PATH", INSTALL)]
    version = (_output([program, "--version"], environ).splitlines() or ["mpirun"])[0]
    words = f"{version} at {program}"
    if "Open MPI" not in version:
        return [Finding(YELLOW, "mpi", words, f"ranks are recognised under Open MPI alone: {INSTALL}")]
    plugin = Path(importlib.util.find_spec("mindspore").submodule_search_locations[0], "lib", PLUGIN)  # type: ignore
    load = f"import ctypes, mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; ctypes.CDLL({str(plugin)!r})"
    done = subprocess.run(_mpirun(1, load), capture_output=True, text=True, env=dict(environ), timeout=PATIENCE_S)
    if done.returncode:
        return [Finding(RED, "mpi", f"{words}, but a rank cannot load it: {_last_error(done.stderr)}", INSTALL)]
    return [Finding(GREEN, "mpi", f"{words}; mpi4py and MindSpore's {PLUGIN} load under it")]


def two_ranks(environ: Mapping[str, str] = os.environ) -> Finding:
    """Start two CPU ranks with mpirun and let them meet."""
    if shutil.which("mpirun", path=environ.get("PATH", "")) is None:
        return Finding(YELLOW, "ranks", "not tried: no mpirun on PATH", INSTALL)
    begun = time.perf_counter()
    try:
        done = subprocess.run(_mpirun(2, _MEET), capture_output=True, text=True, timeout=PATIENCE_S, env=dict(environ))
    except subprocess.TimeoutExpired:
        return Finding(RED, "ranks", f"two ranks did not meet in {PATIENCE_S} s", "check the loopback network")
    if done.returncode == 0 and done.stdout.count("met 2") == 2:
        return Finding(GREEN, "ranks", f"two CPU ranks under mpirun met in {time.perf_counter() - begun:.0f} s")
    reason = _last_error(done.stderr or done.stdout)
    return Finding(RED, "ranks", f"two ranks under mpirun ended with {done.returncode}: {reason}", INSTALL)


def _mpirun(ranks: int, code: str) -> list[str]:
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *root, "--oversubscribe", "-n", str(ranks), sys.executable, "-c", code]


def _output(command: list[str], environ: Mapping[str, str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, env=dict(environ)).stdout


def _last_error(text: str) -> str:
    """The line of a launcher's output that says most: an error by name, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" -")]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or ["no reason given"])[-1]
