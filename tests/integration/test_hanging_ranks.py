"""Ranks that hang, and hosts that are cut off: the others end and say who it was. Real processes, short patience."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from repository import ROOT

from integration.conftest import RECIPE, mpirun

pytestmark = [pytest.mark.slow, pytest.mark.ranks]

PATIENCE_S = 5
SKETCH = str(ROOT / "tests/helpers/sketch_job.py")
TWO_HOSTS = ROOT / "scripts/two_hosts.sh"


class Started(subprocess.Popen[str]):
    """A job under way. What it says goes to a file."""

    def __init__(self, line, workplace, out):
        self.out = out
        with open(out, "w") as file:
            place = {"cwd": workplace.folder, "env": workplace.environment(), "start_new_session": True}
            super().__init__(line, stdout=file, stderr=subprocess.STDOUT, text=True, **place)

    def said(self):
        return self.out.read_text()


@pytest.fixture
def train(workplace, digits, tmp_path):
    """A function (launcher, arguments) -> a started training of a small network that would last for hours."""
    jobs = []

    def start(launcher, *arguments):
        settings = {
            # the first validation compiles, which gives a rank more time
            **{"val_while_train": False, "ckpt_save_policy": "latest_k"},
            **{"batch_size": 8, "epoch_size": 500, "warmup_epochs": 0, "device_target": "CPU", "log_interval": 20},
            **{
                "ckpt_save_steps": 20,
                "rank_timeout": PATIENCE_S,
                "data_dir": digits,
                "ckpt_save_dir": tmp_path / "run",
            },
        }
        words = [str(word) for key, value in settings.items() for word in (f"--{key}", value)]
        line = [sys.executable, SKETCH, "train", "-c", str(RECIPE), *words, *arguments]
        if "msrun" in launcher:
            line = line[1:]
        job = Started([*launcher, *line], workplace, tmp_path / f"said-{len(jobs)}")
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        for process in family(job):
            process.kill()
        job.wait()


def family(job):
    try:
        return [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def ranks_of(job):
    """The processes of a job that train, in the order of their ranks."""
    found = [process for process in family(job) if process.cmdline()[1:2] == [SKETCH]]
    return sorted(found, key=lambda process: int(process.environ()["OMPI_COMM_WORLD_RANK"]))


def wait_for(text, job):
    until = time.monotonic() + 60
    while text not in job.said():
        assert job.poll() is None and time.monotonic() < until, job.said()
        time.sleep(0.1)


def test_a_rank_that_is_stopped_is_named_and_the_job_ends(train):
    job = train(mpirun(2))
    wait_for("step 40/", job)
    time.sleep(2)  # until the others have heard that it compiles no more, which would give it more time
    processes, second = family(job), ranks_of(job)[1]
    second.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert job.wait(60) == 5, job.said()
    assert time.monotonic() - begun < PATIENCE_S + 30  # a busy machine takes its time to end them
    (error,) = [line for line in job.said().splitlines() if "error:" in line]
    assert re.search(
        rf"^\[rank 0\] error: rank 1 \(process {second.pid} on \S+\) has given no sign of life for 5 s, last ", error
    )
    assert "; go on with: mpirun -n 2 python " in error and error.endswith("--resume_opt True")
    assert psutil.wait_procs(processes, 10)[1] == []


@pytest.fixture
def two_hosts():
    """scripts/two_hosts.sh, after `up`; a test that may not have them is skipped, and says why."""
    if shutil.which("ip") is None:
        pytest.skip("two hosts on one machine need `ip`: apt-get install iproute2")
    made = subprocess.run(["bash", TWO_HOSTS, "up"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"two hosts on one machine need network namespaces: {made.stderr.strip()}")
    yield lambda *words: subprocess.run(["bash", TWO_HOSTS, *words], check=True)
    subprocess.run(["bash", TWO_HOSTS, "down"], check=True)


def test_a_host_that_is_cut_off_ends_the_job_on_both_and_it_goes_on(train, two_hosts, tmp_path):
    """Begun by mpirun, gone on with by msrun, which tells nothing of itself over ssh."""
    mpi = ("mpirun", *("--allow-run-as-root",) * (os.geteuid() == 0), "--host", "10.213.77.1,10.213.77.2", "-n", "2")
    passed = ("-x", "PATH", "-x", "PYTHONPATH", "-x", "MINDCV_HRNET_CACHE")
    job = train(("bash", str(TWO_HOSTS), "run", "host-a", *mpi, *passed))
    wait_for("step 40/", job)
    time.sleep(2)  # until the others have heard that it compiles no more, which would give it more time
    processes, ranks = family(job), ranks_of(job)
    two_hosts("cut")
    begun = time.monotonic()
    assert psutil.wait_procs(ranks, 60)[1] == []
    assert time.monotonic() - begun < PATIENCE_S + 30  # a busy machine takes its time to end them
    assert job.wait(60) == 5 and psutil.wait_procs(processes, 30)[1] == [], job.said()
    log = (tmp_path / "run/run.log").read_text()
    assert re.search(r"\d error: rank 1 \(process \d+ on host-b\) has given no sign of life for 5 s", log)
    assert re.search(r"\[rank 1\] error: rank 0 \(process \d+ on host-a\) has given no sign of life for 5 s", log)
    two_hosts("mend")
    jobs = [
        train(
            (
                *(
                    "bash",
                    str(TWO_HOSTS),
                    "run",
                    f"host-{'ab'[number]}",
                    "msrun",
                    "--worker_num=2",
                    "--local_worker_num=1",
                ),
                *(f"--node_rank={number}", "--master_addr=10.213.77.1", "--master_port=8118", "--join=True"),
                f"--log_dir={tmp_path / 'logs'}",
            ),
            *("--epoch_size", "1", "--resume"),
        )
        for number in (0, 1)
    ]
    assert [job.wait(100) for job in jobs] == [0, 0], [job.said() for job in jobs]
    starts = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert len(starts) == 2 and starts[1]["ranks"] == 2 and starts[1]["first_step"] > 40
    assert starts[1]["host"] in ("host-a", "host-b")
