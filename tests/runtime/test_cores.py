"""Ranks of one host share its cores."""

import os
import subprocess
import sys

import pytest
from integration.conftest import mpirun

from mindcv_hrnet.runtime.cores import ranks_of_host, share_of, take_share_of_cores

binds = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no processes")
# Told by a rank: what it may use at first, and its share
RANK = """
import os
from mindcv_hrnet.runtime.cores import take_share_of_cores
before = os.sched_getaffinity(0)
take_share_of_cores(os.environ)
print(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"], sorted(before), sorted(os.sched_getaffinity(0)), sep=";")
"""


def variables(rank, ranks):
    whole = {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(ranks)}
    return {**whole, "OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": str(ranks)}


def of_msrun(role, rank, ranks, scheduler="127.0.0.1"):
    return {"MS_ROLE": role, "MS_NODE_ID": str(rank), "MS_WORKER_NUM": str(ranks), "MS_SCHED_HOST": scheduler}


def test_every_core_has_one_rank():
    for count, ranks in ((2, 2), (8, 3), (5, 5)):
        shares = [share_of(list(range(10, 10 + count)), rank, ranks) for rank in range(ranks)]
        assert [core for share in shares for core in share] == list(range(10, 10 + count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (variables(1, 4), (1, 4)),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, (0, 1)),
        (of_msrun("MS_WORKER", 3, 4), (3, 4)),
        (of_msrun("MS_SCHED", 0, 4), (0, 1)),
        (of_msrun("MS_WORKER", 3, 16, scheduler="10.0.0.7"), (0, 1)),
        ({}, (0, 1)),
    ],
    ids=["mpirun", "another MPI", "msrun", "its scheduler", "several hosts", "no launcher"],
)
def test_who_shares_the_host(environ, expected):
    assert ranks_of_host(environ) == expected


@binds
@pytest.mark.parametrize(
    ("environ", "usable", "launchers", "bound", "told"),
    [
        (variables(1, 2), {0, 1, 2, 3}, {0, 1, 2, 3}, [2, 3], False),
        (variables(1, 2), {8, 9, 10, 11}, {8, 9, 10, 11}, [10, 11], False),
        (of_msrun("MS_WORKER", 0, 2), {0, 1, 2, 3}, {0, 1, 2, 3}, [0, 1], False),
        (variables(0, 1), {0, 1, 2, 3}, {0, 1, 2, 3}, None, False),
        (variables(0, 2), {0, 1}, {0, 1, 2, 3}, None, False),
        (variables(0, 2), {0}, {0, 1, 2, 3}, None, True),
        (variables(1, 2), {1}, {0, 1, 2, 3}, None, False),
        (variables(0, 1), {0}, {0, 1, 2, 3}, None, True),
        (of_msrun("MS_WORKER", 0, 16, scheduler="10.0.0.7"), {0}, {0, 1, 2, 3}, None, False),
        (variables(0, 2), {2, 3}, set(), None, False),
        (variables(5, 8), {0, 1, 2, 3}, {0, 1, 2, 3}, None, False),
        ({}, {0, 1, 2, 3}, {0, 1, 2, 3}, None, False),
    ],
    ids=[
        *("mpirun", "in a container of a large host", "msrun", "one rank", "bound by the launcher", "to less"),
        *("another rank tells", "one rank, to less", "by msrun, of several hosts", "launcher hidden"),
        *("more ranks than cores", "no launcher"),
    ],
)
def test_binding(monkeypatch, caplog, environ, usable, launchers, bound, told):
    calls = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: usable)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: calls.append(cores))
    monkeypatch.setattr("mindcv_hrnet.runtime.cores.cores_of_launcher", lambda: launchers)
    take_share_of_cores(environ)
    assert calls == ([] if bound is None else [bound])
    notice = (
        f"the launcher has bound this rank to {len(usable)} of 4 cores; mpirun --bind-to none shares all of them out"
    )
    assert caplog.messages == [notice] * told


@binds
@pytest.mark.ranks
@pytest.mark.parametrize(
    ("options", "script"),
    [(("--bind-to", "none"), ()), (("--bind-to", "core"), ("bash", "-c", '"$@"; exit $?', "script"))],
    ids=["unbound", "bound, by a script"],
)
def test_two_ranks_on_two_cores_have_one_each(options, script, all_cores):
    """Where the launcher is started on two cores of possibly more, as in a container."""
    if len(all_cores) < 2:
        pytest.skip("one core has nothing to share")
    two = all_cores[:2]
    done = subprocess.run(
        ["taskset", "-c", f"{two[0]},{two[1]}", *mpirun(2), *options, *script, sys.executable, "-c", RANK],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split(";") for line in sorted(done.stdout.splitlines())]
    befores = [before for _, before, _ in told]
    assert befores == [f"[{core}]" for core in two] if "core" in options else [str(two)] * 2
    assert [(rank, share) for rank, _, share in told] == [("0", f"[{two[0]}]"), ("1", f"[{two[1]}]")]
