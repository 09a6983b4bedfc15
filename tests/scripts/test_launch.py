"""The launch examples start real ranks on this machine's CPU, or say what they would start."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

LAUNCH = ROOT / "scripts/launch"
JOB = [str(ROOT / "tests/helpers/ranks.py"), "linear"]


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI_", "PMIX_", "MS_", "SLURM_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def run(script, *arguments, cwd, **variables):
    return subprocess.run(
        ["bash", str(LAUNCH / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        env=environment(**variables),
    )


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def two_equal_results(text):
    results = [json.loads(line.partition("RESULT ")[2]) for line in text.splitlines() if "RESULT " in line]
    assert sorted((result["rank"], result["size"]) for result in results) == [(0, 2), (1, 2)], text
    np.testing.assert_array_equal(results[0]["values"], results[1]["values"])
    assert np.abs(results[0]["values"]).max() > 1e-3


@pytest.fixture
def hosts(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("# machines\nlocalhost slots=2\n")
    return file


@pytest.mark.slow
@pytest.mark.ranks
def test_mpirun_with_a_hostfile(hosts, tmp_path):
    options = "--oversubscribe" + " --allow-run-as-root" * (os.geteuid() == 0)
    done = run("mpirun_hosts.sh", hosts, *JOB, cwd=tmp_path, MPIRUN_OPTIONS=options)
    assert done.returncode == 0, done.stderr
    two_equal_results(done.stdout)


def test_mpirun_counts_slots_and_passes_the_environment_on(tmp_path):
    (tmp_path / "hosts").write_text("node1 slots=8\n\n# off: node3 slots=8\nnode2 slots=8 max_slots=8\nnode4\n")
    done = run("mpirun_hosts.sh", "--dry-run", "hosts", "train.py", "-c", "x", cwd=tmp_path, ASCEND_HOME_PATH="/cann")
    command = done.stdout.strip()
    assert (
        command.startswith("mpirun --hostfile hosts -n 17 --bind-to none -x PATH ") and "-x ASCEND_HOME_PATH" in command
    )
    assert command.endswith("python train.py -c x")
    missing = run("mpirun_hosts.sh", "nowhere", "train.py", cwd=tmp_path)
    assert (missing.returncode, missing.stderr.startswith("error: nowhere: no such file")) == (2, True)


@pytest.fixture
def elsewhere(tmp_path):
    """A PATH on which msrun takes itself for another machine than the first: it would start a second scheduler here."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    program = folder / "msrun"
    program.write_text(
        f"#!{sys.executable}\n"
        "from mindspore.parallel.cluster import run\n"
        "from mindspore.parallel.cluster.process_entity import _api\n"
        "_api._is_local_ip = lambda address: False\n"
        "run.main()\n"
    )
    program.chmod(0o755)
    return f"{folder}:{environment()['PATH']}"


@pytest.mark.slow
@pytest.mark.ranks
def test_msrun_on_two_machines(elsewhere, tmp_path):
    """Both are this one; each starts one of the two ranks."""
    shared = {"DEVICES": "1", "PORT": port()}
    command = ["bash", str(LAUNCH / "msrun_hosts.sh"), "2"]
    first, second = (
        subprocess.Popen(
            [*command, str(number), "127.0.0.1", *JOB],
            cwd=tmp_path,
            env=environment(**shared, LOG_DIR=f"logs{number}", **({"PATH": elsewhere} if number else {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (0, 1)
    )
    words = [machine.communicate(timeout=200)[0] for machine in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), words
    two_equal_results("".join(log.read_text() for log in tmp_path.glob("logs*/worker_*.log")))


def test_msrun_counts_machines_from_0(tmp_path):
    done = run("msrun_hosts.sh", "2", "2", "node1", "train.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: machine 2 of 2: machines count from 0\n")
    command = run("msrun_hosts.sh", "--dry-run", "2", "1", "node1", "train.py", "-c", "x", cwd=tmp_path).stdout.split()
    assert command[:5] == ["msrun", "--worker_num=16", "--local_worker_num=8", "--node_rank=1", "--master_addr=node1"]
    assert command[-3:] == ["train.py", "-c", "x"]


@pytest.fixture
def slurm(tmp_path):
    """Variables of a job on two machines, with Slurm's two commands and an msrun that says what it was told."""
    tools = {
        "scontrol": '[ "$3" = "n[1-2]" ] && printf "n1\\nn2\\n"',
        "srun": 'while [[ "$1" == --* ]]; do shift; done; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
        "msrun": 'echo msrun "$@"',
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in tools.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    # a checkout without a .venv, whose msrun would come first
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    job = {"SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}
    return {**job, "SLURM_SUBMIT_DIR": str(tmp_path), "PATH": f"{folder}:{environment()['PATH']}"}


def test_slurm_starts_msrun_on_each_machine(slurm, tmp_path):
    done = run("slurm.sh", "train.py", "-c", "a recipe.yaml", cwd=tmp_path, **slurm)
    assert done.returncode == 0, done.stderr
    shared = "--master_addr=n1 --master_port=24711 --cluster_time_out=600 --join=True --log_dir=logs/4711"
    assert done.stdout.splitlines() == [
        f"msrun --worker_num=16 --local_worker_num=8 --node_rank={number} {shared} train.py -c a recipe.yaml"
        for number in (0, 1)
    ]


def test_slurm_wants_a_job(tmp_path):
    done = run("slurm.sh", "train.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: no Slurm job; start this with sbatch\n")


@pytest.fixture
def table(tmp_path):
    """A rank table of two machines with two devices each."""

    def server(name, first):
        devices = [{"device_id": str(d), "device_ip": f"192.1.0.{d}", "rank_id": str(first + d)} for d in (0, 1)]
        return {"server_id": name, "device": devices, "host_nic_ip": "reserve"}

    servers = {"version": "1.0", "server_count": "2", "server_list": [server("10.0.0.1", 0), server("10.0.0.2", 2)]}
    file = tmp_path / "table.json"
    file.write_text(json.dumps({**servers, "status": "completed"}))
    return file


def test_a_rank_table_gives_each_device_of_this_machine_a_process(table, tmp_path):
    done = run("rank_table.sh", "--dry-run", table, "train.py", "-c", "x", cwd=tmp_path, SERVER="10.0.0.2")
    assert done.stdout.splitlines() == [
        f"RANK_TABLE_FILE={table} RANK_ID={rank} RANK_SIZE=4 DEVICE_ID={rank - 2} python train.py -c x"
        for rank in (2, 3)
    ]
    wrong = run("rank_table.sh", table, "train.py", cwd=tmp_path, SERVER="10.0.0.9")
    assert wrong.returncode == 2 and "has no server_id 10.0.0.9: 10.0.0.1, 10.0.0.2" in wrong.stderr
    table.write_text("{}")
    wrong = run("rank_table.sh", table, "train.py", cwd=tmp_path)
    assert wrong.returncode == 2 and "not a rank table" in wrong.stderr


@pytest.mark.slow
@pytest.mark.ranks
def test_ranks_of_a_table_start_and_the_first_that_fails_ends_them(table, tmp_path):
    """On a CPU each says that the table is for Ascend: what the launcher told it has arrived."""
    done = run("rank_table.sh", table, *JOB, cwd=tmp_path)
    assert done.returncode == 2
    assert "RANK_TABLE_FILE is for Ascend, the device is CPU; start with mpirun or msrun" in done.stderr
    assert "[rank 0]" in (tmp_path / "logs/rank_0.log").read_text()


def source_gpu_environment(folder, packages, **variables):
    script = ROOT / "scripts/gpu_environment.sh"
    code = f". {script} && printf '%s\\n' $CUDA_HOME $LD_LIBRARY_PATH && $CUDA_HOME/bin/nvcc --version"
    own = {"LD_LIBRARY_PATH": "", "CUDA_HOME": "", "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(packages)}
    env = {**environment(), **own, **variables}
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=env)


def test_the_gpu_environment(tmp_path):
    missing = source_gpu_environment(tmp_path, tmp_path)
    assert missing.returncode == 1 and "pip install '.[gpu]'" in missing.stderr
    for name in ("cublas", "cudnn"):
        (tmp_path / "nvidia" / name / "lib").mkdir(parents=True)
    (tmp_path / "nvidia/__init__.py").touch()
    done = source_gpu_environment(tmp_path, tmp_path)
    _, home, libraries, version = done.stdout.splitlines()
    assert home == str(tmp_path / "cache/mindcv_hrnet/cuda-11.8") and "release 11.8" in version
    assert libraries == f"{tmp_path}/nvidia/cublas/lib:{tmp_path}/nvidia/cudnn/lib:"
    own = tmp_path / "own/bin/nvcc"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho Cuda compilation tools, release 11.6, V11.6.1\n")
    own.chmod(0o755)
    done = source_gpu_environment(tmp_path, tmp_path, CUDA_HOME=str(tmp_path / "own"), LD_LIBRARY_PATH="/before")
    assert done.stdout.splitlines()[1] == str(tmp_path / "own") and done.stdout.splitlines()[2].endswith(":/before")
