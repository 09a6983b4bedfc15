"""The doctor's page: each question on machines that are not here, and once really on this one."""

import json
import sys

import numpy as np
import pytest
from repository import ROOT

from mindcv_hrnet import cli
from mindcv_hrnet.jobs import doctor
from mindcv_hrnet.jobs.probes import accelerators, capacity, meeting, software
from mindcv_hrnet.jobs.probes.estimate import GIB, demand_of
from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding, quietly
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.runtime import devices

RECIPE = ROOT / "configs/hrnet/hrnet_w32_ascend.yaml"


@pytest.fixture
def recipe():
    return lambda *arguments: parse_config(["-c", str(RECIPE), *arguments])


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10, 4), GREEN), ((3, 12, 0), GREEN), ((3, 9, 9), RED), ((3, 13), RED)]
)
def test_python(version, level):
    assert software.python(version).level == level


def test_packages_that_are_missing_or_of_another_version():
    (fine,) = software.packages(["numpy>=1.25", "huggingface_hub>=99; extra == 'hub'"])
    assert (fine.level, fine.detail) == (GREEN, f"numpy {np.__version__}")
    (wrong,) = software.packages(["numpy>=99", "no-such-package-of-ours>=1"])
    assert wrong.level == RED
    assert wrong.detail == f"numpy {np.__version__} is not >=99; no-such-package-of-ours>=1 is missing"


def test_kernels():
    assert software.kernels({}, avx512=False).level == GREEN
    for fast in ("AVX2", "SSE41", "AVX2_VNNI_2"):
        assert software.kernels({"ONEDNN_MAX_CPU_ISA": fast}, avx512=True).level == GREEN
    slow = software.kernels({"ONEDNN_MAX_CPU_ISA": "ALL"}, avx512=True)
    assert slow.level == YELLOW and "is ALL" in slow.detail and "40 times" in slow.detail


@pytest.fixture
def machine(monkeypatch):
    """A function (what works, signs={device: ...}) that makes this machine such a one."""

    def make(*works, signs=None):
        signs = signs or {}
        monkeypatch.setattr(devices, "refusal", lambda name: None if name in works else "no library")
        monkeypatch.setattr(devices, "signs_of_npu", lambda: signs.get("Ascend", []))
        monkeypatch.setattr(devices, "signs_of_gpu", lambda: signs.get("GPU", []))
        monkeypatch.setattr(devices, "missing_for", lambda name: [f"the driver of {name}"])
        monkeypatch.setattr(accelerators, "count", lambda name: 8)
        monkeypatch.setattr(accelerators, "name_of", lambda name: f"{name} 910B")

    return make


def test_eight_npus(machine):
    machine("Ascend", "CPU", signs={"Ascend": ["npu-smi"]})
    assert accelerators.accelerator("Ascend", "auto") == Finding(GREEN, "NPU", "8 x Ascend 910B")
    assert accelerators.usable_devices("auto") == ("Ascend", 8)
    assert accelerators.usable_devices("CPU") == ("CPU", 1)


@pytest.mark.parametrize(
    ("device", "signs", "wanted", "level", "words"),
    [
        (
            "Ascend",
            ["npu-smi"],
            "auto",
            RED,
            "here (npu-smi) but not usable: the driver of Ascend; MindSpore: no library",
        ),
        ("Ascend", [], "Ascend", RED, "asked for by device_target, but not usable: the driver of Ascend"),
        ("Ascend", [], "auto", GREEN, "none here; it would need: the driver of Ascend"),
        ("GPU", ["nvidia-smi"], "auto", YELLOW, "here (nvidia-smi) but not usable"),
        ("GPU", [], "GPU", RED, "asked for by device_target"),
    ],
)
def test_an_accelerator_that_does_not_work(machine, device, signs, wanted, level, words):
    machine("CPU", signs={device: signs})
    found = accelerators.accelerator(device, wanted)
    assert found.level == level and found.detail.startswith(words)
    assert bool(found.mend) == (level != GREEN)
    assert accelerators.usable_devices(wanted) == ("CPU", 1)


def test_no_mpirun():
    (found,) = meeting.mpi({"PATH": "/nonexistent"})
    assert found.level == YELLOW and "msrun" in found.mend
    assert meeting.two_ranks({"PATH": "/nonexistent"}).level == YELLOW


def script(folder, name, text):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_an_mpi_of_another_kind_and_a_broken_one(tmp_path):
    environ = script(tmp_path, "mpirun", "echo 'HYDRA build details'")
    (found,) = meeting.mpi(environ)
    assert found.level == YELLOW and "Open MPI alone" in found.mend
    broken = (
        '[ "$1" = --version ] && echo "mpirun (Open MPI) 4.1.0" && exit 0\necho "ImportError: libmpi.so.40" >&2\nexit 1'
    )
    environ = script(tmp_path, "mpirun", broken)
    (found,) = meeting.mpi(environ)
    assert found.level == RED and found.detail.endswith("a rank cannot load it: ImportError: libmpi.so.40")
    apart = meeting.two_ranks(environ)
    assert apart.level == RED and "ended with 1: ImportError" in apart.detail


def test_cores_and_memory(recipe):
    assert capacity.cores(recipe(), 8, available=96).level == GREEN
    few = capacity.cores(recipe(), 8, available=24)
    assert (few.level, few.mend) == (YELLOW, "--num_parallel_workers 3, or a machine with 64 cores")
    assert capacity.memory(recipe(), "Ascend", 8, free=64 * GIB).level == GREEN
    assert capacity.memory(recipe(), "CPU", 1, free=8 * GIB).level == YELLOW


def test_estimate_of_the_recipe(recipe):
    """The arithmetic of docs/ascend.md."""
    demand = demand_of(recipe())
    assert demand.state_gib == pytest.approx(41.23e6 * 16 / GIB, rel=1e-3)
    assert demand.activations_gib == pytest.approx(21.0, abs=0.1)
    assert demand.images_per_second == pytest.approx(128 / 0.30301, rel=1e-6)
    assert capacity.device_memory(recipe()).level == GREEN
    large = capacity.device_memory(recipe("--model", "hrnet_w64"))
    assert large.level == YELLOW and "--recompute True" in large.mend
    assert demand_of(recipe("--recompute", "True")).activations_gib == pytest.approx(demand.activations_gib / 4)
    assert demand_of(recipe("--opt", "momentum")).state_gib == pytest.approx(demand.state_gib * 3 / 4)


def test_reading_is_measured_and_held_against_the_devices(recipe, tmp_path):
    from PIL import Image

    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "train" / name)
    small = ("--data_dir", str(tmp_path), "--batch_size", "2", "--image_resize", "32", "--num_parallel_workers", "1")
    found = capacity.reading(recipe(*small), "CPU", 1, seconds=0.05)
    assert found.level == GREEN and "images/s of 4 on this host" in found.detail
    assert capacity.reading(recipe("--data_dir", str(tmp_path / "none")), "CPU", 1).level == YELLOW
    (tmp_path / "empty/train").mkdir(parents=True)
    assert capacity.reading(recipe("--data_dir", str(tmp_path / "empty")), "CPU", 1).level == RED
    demand = demand_of(recipe())
    enough, short = (capacity.feeding(rate, demand, "Ascend", 8, 1000) for rate in (4000, 1000))
    assert (enough.level, short.level) == (GREEN, YELLOW)
    assert "feeds 2.4 devices of 422 images/s each (estimate), 8 are here" in short.detail


def test_disk_and_cache(recipe, tmp_path):
    config = recipe("--ckpt_save_dir", str(tmp_path / "not/yet"))
    assert capacity.disk(config, free=100 * GIB).level == GREEN
    full = capacity.disk(config, free=GIB)
    assert full.level == RED and str(tmp_path) in full.detail
    assert capacity.cache(tmp_path / "cache").level == GREEN
    (tmp_path / "file").touch()
    assert capacity.cache(tmp_path / "file/below").level == YELLOW


def test_a_question_that_fails_is_a_finding():
    def broken() -> Finding:
        raise ZeroDivisionError("division by zero")

    (found,) = quietly(broken)
    assert (found.level, found.detail) == (RED, "a question failed: ZeroDivisionError: division by zero")


FINDINGS = [Finding(GREEN, "python", "3.11"), Finding(RED, "NPU", "not usable", "source set_env.sh")]


def test_the_page(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda config: FINDINGS)
    assert cli.main(["doctor", "-c", str(RECIPE)]) == 5
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == [
        "green   python  3.11",
        "red     NPU     not usable",
        "                -> source set_env.sh",
    ]
    assert err == "error: this machine cannot run the recipe as it is: NPU\n"
    monkeypatch.setattr(doctor, "examine", lambda config: FINDINGS[:1])
    assert cli.main(["doctor", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["model"] == "hrnet_w32" and page["findings"] == [vars(FINDINGS[0])]
    assert "\033[31mred   \033[0m" in doctor.as_page(FINDINGS, colours=True)


def test_it_wants_no_launcher(monkeypatch, capsys):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setattr("os._exit", lambda code: None)
    assert cli.main(["doctor"]) == 2
    assert "run it without mpirun" in capsys.readouterr().err


@pytest.mark.slow
def test_this_machine(recipe, tmp_path):
    """Every question for real: two ranks start and meet."""
    found = {finding.what: finding for finding in doctor.examine(recipe("--ckpt_save_dir", str(tmp_path)))}
    asked = "python packages kernels NPU GPU device mpi ranks cores memory device-memory reading disk cache"
    assert [what.replace(" ", "-") for what in found] == asked.split()
    assert found["python"].level == GREEN and sys.version.split()[0] in found["python"].detail
    assert "libmpi_collective.so load under it" in found["mpi"].detail
    assert found["ranks"].level == GREEN and "met in" in found["ranks"].detail
