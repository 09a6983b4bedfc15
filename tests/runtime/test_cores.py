"""Ranks of one host share its cores."""

import os

import pytest

from mindcv_hrnet.runtime.cores import ranks_of_host, share_of, take_share_of_cores


def variables(rank, ranks):
    return {"OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": str(ranks)}


def test_every_core_has_one_rank():
    for count, ranks in ((2, 2), (8, 3), (5, 5)):
        shares = [share_of(list(range(10, 10 + count)), rank, ranks) for rank in range(ranks)]
        assert [core for share in shares for core in share] == list(range(10, 10 + count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_who_shares_the_host():
    assert ranks_of_host(variables(1, 4)) == (1, 4)
    assert ranks_of_host({"OMPI_COMM_WORLD_SIZE": "8"}) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no processes")
@pytest.mark.parametrize(
    ("environ", "usable", "bound"),
    [
        (variables(1, 2), {0, 1, 2, 3}, [2, 3]),
        (variables(0, 1), {0, 1, 2, 3}, None),
        (variables(1, 2), {2, 3}, None),  # bound by the launcher
        (variables(5, 8), {0, 1, 2, 3}, None),
        ({}, {0, 1, 2, 3}, None),
    ],
    ids=["shared", "one rank", "bound already", "more ranks than cores", "no launcher"],
)
def test_binding(monkeypatch, environ, usable, bound):
    calls = []
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: usable)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: calls.append(cores))
    take_share_of_cores(environ)
    assert calls == ([] if bound is None else [bound])
