"""Processor cores: how many a process may use, and which of them, where several ranks compute on one host's CPU."""

import os
from collections.abc import Mapping


def usable_cores() -> int:
    """Processor cores that this process may use; a launcher or a container may bind it to some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_share_of_cores(environ: Mapping[str, str]) -> None:
    """Bind this rank to its share of the host's cores; threads that are started from now on stay there.

    Left alone, every rank starts as many threads as the host has cores, and they wait for each other. Nothing is done
    where somebody has bound the process already, where there are fewer cores than ranks, or where the launcher does
    not tell who shares the host.
    """
    rank, ranks = ranks_of_host(environ)
    if ranks == 1 or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == os.cpu_count() and len(cores) >= ranks:
        os.sched_setaffinity(0, share_of(cores, rank, ranks))


def share_of(cores: list[int], rank: int, ranks: int) -> list[int]:
    """Neighbouring cores, as many for each rank as for the others, or one more."""
    return cores[rank * len(cores) // ranks : (rank + 1) * len(cores) // ranks]


def ranks_of_host(environ: Mapping[str, str]) -> tuple[int, int]:
    """(which of the ranks on this host, how many there are) where mpirun tells, otherwise (0, 1)."""
    names = "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"
    if not all(name in environ for name in names):
        return 0, 1
    return int(environ[names[0]]), int(environ[names[1]])
