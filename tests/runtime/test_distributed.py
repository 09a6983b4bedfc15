"""Who started this process, which device it gets, and what is refused before anything is built."""

import importlib.util

import numpy as np
import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.runtime.distributed import (
    Cluster,
    connect,
    launcher_of,
    leave_job,
    prepare_environment,
    sum_over_ranks,
)

MPIRUN = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}
MSRUN = {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": "1", "MS_WORKER_NUM": "2"}
RANK_TABLE = {"RANK_TABLE_FILE": "table.json", "RANK_ID": "5", "RANK_SIZE": "8"}
LAUNCHER_KEYS = (*MPIRUN, *MSRUN, *RANK_TABLE, "OMPI_COMM_WORLD_LOCAL_SIZE")


@pytest.fixture
def environment(monkeypatch, pynative):
    """A function that sets the variables of a launcher, after those of every other are gone."""
    for key in LAUNCHER_KEYS:
        monkeypatch.delenv(key, raising=False)

    def start(variables):
        for key, value in variables.items():
            monkeypatch.setenv(key, value)

    return start


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("none", 0, 1)),
        (MPIRUN, ("mpirun", 3, 8)),
        (MSRUN, ("msrun", 1, 2)),
        ({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "4"}, ("msrun", -1, 4)),
        (RANK_TABLE, ("rank table", 5, 8)),
        # the rest of an environment that MindSpore's import has filled in from mpirun's
        ({**MPIRUN, "RANK_ID": "3", "RANK_SIZE": "8"}, ("mpirun", 3, 8)),
        ({"RANK_ID": "0", "RANK_SIZE": "1"}, ("none", 0, 1)),
        ({"RANK_TABLE_FILE": "table.json"}, ("none", 0, 1)),
        # with MS_ROLE MindSpore's dynamic cluster wins
        ({**MPIRUN, **MSRUN}, ("msrun", 1, 2)),
    ],
)
def test_launcher_of(environ, expected):
    assert launcher_of(environ) == expected


def test_standalone_is_rank_0_of_1():
    assert (Cluster().rank, Cluster().size, Cluster().is_main, Cluster(rank=1, size=2).is_main) == (0, 1, True, False)


def test_prepare_environment_keeps_what_the_user_has_set():
    environ = {"GLOG_v": "0"}
    prepare_environment(environ)
    assert environ["GLOG_v"] == "0"
    # the default of 30 s is shorter than a compile
    assert int(environ["MS_CPU_COMM_OP_TIMEOUT"]) >= 1800 and 1800 <= int(environ["HCCL_CONNECT_TIMEOUT"]) <= 7200
    # whole multiples of 68 s on Atlas training series, above MindSpore's limit of an operator
    assert int(environ["HCCL_EXEC_TIMEOUT"]) == 3536 and 3536 % 68 == 0 and 3536 > 900
    assert not any(key.startswith("OMPI_MCA") for key in environ)
    environ = dict(MPIRUN)
    prepare_environment(environ)
    assert environ["OMPI_MCA_btl_base_warn_component_unused"] == "0"


def test_distribute_without_launcher_runs_standalone_and_says_so_once(environment, caplog):
    assert connect(distribute=True, device_target="CPU") == Cluster()
    assert [record.getMessage() for record in caplog.records] == [
        "distribute is True, but no launcher (mpirun, msrun, rank table) is at work: running standalone"
    ]


def test_standalone_is_silent(environment, caplog):
    assert connect(device_target="CPU") == Cluster()
    assert caplog.records == []


@pytest.mark.parametrize(("mode", "name"), [(0, "GRAPH_MODE"), (1, "PYNATIVE_MODE")])
def test_connect_sets_the_mode(environment, mode, name):
    import mindspore as ms

    connect(mode=mode)
    assert ms.get_context("mode") == getattr(ms, name)


@pytest.mark.parametrize(("level", "config"), [("O1", {"jit_level": "O1"}), (None, {})])
def test_connect_sets_how_graphs_run(environment, level, config):
    import mindspore as ms

    connect(jit_level=level)
    assert ms.context.get_jit_config() == config


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            MPIRUN,
            "mpirun started 8 processes, but distribute is False; pass --distribute True, or start without mpirun",
        ),
        (MSRUN, "msrun started 2 processes, but distribute is False; pass --distribute True, or start without msrun"),
        (
            RANK_TABLE,
            "rank table started 8 processes, but distribute is False; pass --distribute True, "
            "or start without rank table",
        ),
    ],
)
def test_a_launcher_without_distribute_is_refused(environment, variables, message):
    environment(variables)
    with pytest.raises(ConfigError) as error:
        connect(distribute=False, device_target="CPU")
    assert str(error.value) == message


def test_one_process_under_a_launcher_needs_no_distribute(environment):
    environment({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"})
    assert connect(device_target="CPU") == Cluster()


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_ranks_of_mpirun_meet_by_the_frameworks_own_call_on_an_accelerator(environment, monkeypatch, device):
    """It takes HCCL or NCCL by the device, and the device's number from mpirun's local rank."""
    import mindspore as ms

    environment(MPIRUN)
    calls = []
    monkeypatch.setattr("mindcv_hrnet.runtime.distributed.choose_device", lambda target, ranks: device)
    for name in ("set_device", "set_auto_parallel_context"):
        monkeypatch.setattr(ms, name, lambda *args, name=name, **kwargs: calls.append((name, *args)))
    monkeypatch.setattr(ms.communication, "init", lambda *args: calls.append(("init", *args)))
    monkeypatch.setattr(ms.communication, "get_rank", lambda: 3)
    monkeypatch.setattr(ms.communication, "get_group_size", lambda: 8)
    assert connect(mode=1) == Cluster(rank=3, size=8, device=device, launcher="mpirun")
    assert calls == [("set_device", device), ("init",), ("set_auto_parallel_context",)]


def test_rank_table_is_refused_on_cpu(environment):
    environment(RANK_TABLE)
    with pytest.raises(ConfigError) as error:
        connect(distribute=True, device_target="CPU")
    assert str(error.value) == "RANK_TABLE_FILE is for Ascend, the device is CPU; start with mpirun or msrun"


def test_sum_over_one_rank_is_the_value_itself():
    values = np.array([1.5, 2.0], np.float32)
    assert sum_over_ranks(values, Cluster()).tolist() == [1.5, 2.0]


def test_a_standalone_process_prints_and_goes_on(environment, capsys):
    leave_job(0)
    leave_job(3, "error: x")
    assert capsys.readouterr() == ("", "error: x\n")


@pytest.mark.parametrize(
    ("variables", "rank", "echo_possible", "waits"),
    [(MPIRUN, 0, False, False), (MPIRUN, 0, True, True), (MPIRUN, 3, False, True), (MSRUN, 1, False, True)],
)
def test_the_first_rank_reports_at_once_the_others_later(
    environment, monkeypatch, capsys, variables, rank, echo_possible, waits
):
    key = "OMPI_COMM_WORLD_RANK" if variables is MPIRUN else "MS_NODE_ID"
    environment({**variables, key: str(rank)})
    slept, codes = [], []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("os._exit", codes.append)
    leave_job(4, "error: x", echo_possible=echo_possible)
    assert capsys.readouterr().err == f"[rank {rank}] error: x\n"
    assert (bool(slept), codes) == (waits, [4])


def test_the_scheduler_of_msrun_is_silent(environment, monkeypatch, capsys):
    environment({**MSRUN, "MS_ROLE": "MS_SCHED"})
    codes = []
    monkeypatch.setattr("os._exit", codes.append)
    leave_job(4, "error: x")
    assert (capsys.readouterr().err, codes) == ("", [4])


def test_mpi_binding_is_a_dependency():
    assert importlib.util.find_spec("mpi4py") is not None
