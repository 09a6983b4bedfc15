"""Which device is chosen, and what is said where one is there, or asked for, and does not work."""

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.runtime import devices
from mindcv_hrnet.runtime.devices import (
    CANN_VERSIONS,
    cann_scripts,
    cann_version,
    choose_device,
    missing_for,
    refusal,
    signs_of_gpu,
    signs_of_npu,
)


@pytest.fixture
def machine(monkeypatch):
    """A function (what works, npu=signs, gpu=signs, lacking={device: clauses}) that makes this machine such a one."""

    def make(*works, npu=(), gpu=(), lacking=None):
        monkeypatch.setattr(devices, "refusal", lambda name: None if name in works else "the loader's words")
        monkeypatch.setattr(devices, "signs_of_npu", lambda: list(npu))
        monkeypatch.setattr(devices, "signs_of_gpu", lambda: list(gpu))
        monkeypatch.setattr(devices, "missing_for", lambda name: (lacking or {}).get(name, []))

    return make


@pytest.mark.parametrize("ranks", [1, 8])
@pytest.mark.parametrize(("works", "chosen"), [(("Ascend", "GPU", "CPU"), "Ascend"), (("GPU", "CPU"), "GPU")])
def test_auto_takes_the_best_that_works(machine, works, chosen, ranks):
    machine(*works, npu=["npu-smi"] if chosen == "Ascend" else [])
    assert choose_device("auto", ranks) == chosen


def test_one_process_without_accelerator_computes_on_the_cpu(machine):
    machine("CPU")
    assert choose_device("auto") == "CPU"
    machine("CPU", gpu=["nvidia-smi"], lacking={"GPU": ["CUDA_HOME is not set"]})
    assert choose_device("auto") == "CPU"


@pytest.mark.parametrize("ranks", [1, 8])
def test_an_npu_that_cannot_be_used_is_an_error(machine, ranks):
    """Also where a GPU would work: the machine was bought for its NPUs."""
    machine("GPU", "CPU", npu=["8 x /dev/davinci*", "npu-smi"], lacking={"Ascend": ["no set_env.sh", "CANN 8.1"]})
    with pytest.raises(ConfigError) as error:
        choose_device("auto", ranks)
    assert str(error.value) == (
        "an NPU is here (8 x /dev/davinci*, npu-smi), but MindSpore cannot use it: no set_env.sh; CANN 8.1; "
        "'mindcv-hrnet doctor' shows more; pass --device_target CPU to compute on the CPU all the same"
    )
    assert choose_device("CPU", ranks) == "CPU"


def test_without_an_obvious_lack_the_loader_has_the_word(machine):
    machine("CPU", npu=["npu-smi"])
    with pytest.raises(ConfigError, match="cannot use it: the loader's words; "):
        choose_device("auto")
    with pytest.raises(ConfigError, match="device_target Ascend does not work here: the loader's words; "):
        choose_device("Ascend")


def test_several_ranks_compute_on_the_cpu_only_when_it_is_named(machine):
    machine("CPU")
    with pytest.raises(ConfigError) as error:
        choose_device("auto", 8)
    assert str(error.value) == (
        "8 ranks were started, but no NPU or GPU works here; "
        "pass --device_target CPU to compute on the CPU all the same"
    )
    assert choose_device("CPU", 8) == "CPU"
    machine("CPU", gpu=["nvidia-smi"], lacking={"GPU": ["CUDA_HOME is not set"]})
    with pytest.raises(ConfigError, match=r"works here \(CUDA_HOME is not set\); pass"):
        choose_device("auto", 2)


def test_a_named_device_must_work(machine):
    machine("CPU", lacking={"GPU": ["no GPU driver here"]})
    with pytest.raises(ConfigError) as error:
        choose_device("GPU")
    assert str(error.value) == (
        "device_target GPU does not work here: no GPU driver here; "
        "use --device_target CPU, or auto for the best device that works"
    )


@pytest.fixture
def root(tmp_path):
    """A function (paths...) -> the root of a file system with these files."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch(mode=0o755)
        return tmp_path

    return make


def test_signs_of_devices(root):
    folder = root("dev/davinci0", "dev/davinci7", "dev/davinci_manager", "dev/nvidia0", "bin/npu-smi", "bin/nvidia-smi")
    environ = {"PATH": str(folder / "bin")}
    assert signs_of_npu(environ, folder) == ["2 x /dev/davinci*", "npu-smi"]
    assert signs_of_npu({"ASCEND_HOME_PATH": "/x"}, folder / "bin") == ["ASCEND_HOME_PATH"]
    assert signs_of_gpu(environ, folder) == ["1 x /dev/nvidia*", "nvidia-smi"]
    assert signs_of_npu({}, folder / "bin") == signs_of_gpu({}, folder / "bin") == []


def test_an_environment_that_nobody_sourced(root):
    folder = root("dev/davinci0", "usr/local/Ascend/ascend-toolkit/set_env.sh")
    script = folder / "usr/local/Ascend/ascend-toolkit/set_env.sh"
    assert cann_scripts({}, folder) == [script]
    assert missing_for("Ascend", {}, folder) == [f"CANN's environment is not set (source {script})"]


def test_nothing_installed(tmp_path):
    driver, environment = missing_for("Ascend", {"HOME": str(tmp_path)}, tmp_path)
    assert driver.startswith("no /dev/davinci* (install the driver")
    assert environment == "CANN's environment is not set (install CANN 9.1 and source its set_env.sh)"


def test_a_cann_of_another_version_without_its_packages(root):
    home = root("dev/davinci0", "cann/compiler/version.info") / "cann"
    (home / "compiler/version.info").write_text("Version=7.3.0.1.231:8.1.RC1\n")
    environ = {"ASCEND_HOME_PATH": str(home)}
    version, own, imported = missing_for("Ascend", environ, home.parent)
    assert version == "CANN 7.3 is installed (this MindSpore takes 8.2, 8.3, 8.5, 9.0, 9.1)"
    assert own == "CANN's Python packages te, hccl are not found (source set_env.sh in this shell)"
    assert "decorator" in imported and "pip install '.[ascend]'" in imported


def test_a_whole_cann_lacks_nothing(root, monkeypatch):
    home = root("dev/davinci0", "cann/compiler/version.info") / "cann"
    (home / "compiler/version.info").write_text("Version=9.1.0\n")
    monkeypatch.setattr(devices, "_importable", lambda name: True)
    assert missing_for("Ascend", {"ASCEND_HOME_PATH": str(home)}, home.parent) == []
    assert cann_version(home) == "9.1" and cann_version(home / "elsewhere") is None


def test_the_versions_are_those_that_mindspore_accepts():
    """MindSpore reads the same file and only warns."""
    from mindspore.run_check._check_version import AscendEnvChecker

    assert tuple(AscendEnvChecker(None).version) == CANN_VERSIONS


def test_what_a_gpu_lacks(root):
    folder = root("dev/nvidia0")
    (environment,) = missing_for("GPU", {}, folder)
    assert "pip install '.[gpu]'" in environment and "source scripts/gpu_environment.sh" in environment
    assert missing_for("GPU", {"CUDA_HOME": "/usr/local/cuda-11.6"}, folder) == []
    assert missing_for("GPU", {}, folder / "dev") == ["no GPU driver here (no /dev/nvidia*, no nvidia-smi)"]


def test_a_plugin_without_a_driver_is_refused_in_the_drivers_words(monkeypatch, pynative):
    """The GPU plugin loads wherever its libraries are; only counting devices asks the driver."""
    import mindspore as ms

    def count(name):
        raise RuntimeError("\n-----\n- Cuda error:\n-----\nCUDA driver version is insufficient.\n\n- C++ Call Stack")

    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(ms.hal, "device_count", count)
    assert refusal("GPU") == "CUDA driver version is insufficient"
    monkeypatch.setattr(ms.hal, "device_count", lambda name: 0)
    assert refusal("Ascend") == "the driver reports no Ascend device"
    monkeypatch.setattr(ms.hal, "device_count", lambda name: 8)
    assert refusal("Ascend") is None


def test_this_machines_own_words(pynative):
    """The real loader: what it says names a library."""
    assert refusal("CPU") is None
    words = refusal("Ascend")
    if words is None:
        pytest.skip("Ascend works here")
    assert ".so" in words and "\n" not in words
