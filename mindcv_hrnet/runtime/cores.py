"""Processor cores: how many a process may use, and which of them, where several ranks compute on one host's CPU."""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress

logger = logging.getLogger(__name__)

# What a rank finds in its environment, under mpirun and under msrun
_RANK_VARIABLES = {"OMPI_COMM_WORLD_RANK", "MS_ROLE"}
_LOCAL_SIZE = "OMPI_COMM_WORLD_LOCAL_SIZE"


def usable_cores() -> int:
    """Processor cores that this process may use; a launcher or a container may bind it to some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_share_of_cores(environ: Mapping[str, str]) -> None:
    """Bind this rank to its share of the launcher's cores; threads that are started from now on stay there.

    Left alone, every rank starts as many threads as it has cores, and they wait for each other. Nothing is done where
    the launcher, or a script that it runs, has bound the rank already, where there are fewer cores than ranks, or where
    it is not told who shares the host. Where mpirun has bound it to less than its share, a notice tells.
    """
    rank, ranks = ranks_of_host(environ)
    if not _RANK_VARIABLES & environ.keys() or not hasattr(os, "sched_setaffinity"):
        return
    cores, launchers = os.sched_getaffinity(0), cores_of_launcher()
    if cores == launchers and len(cores) >= ranks > 1:
        os.sched_setaffinity(0, share_of(sorted(cores), rank, ranks))
    elif _LOCAL_SIZE in environ and rank == 0 and len(cores) < len(launchers) // ranks:
        logger.warning(
            "the launcher has bound this rank to %d of %d cores; mpirun --bind-to none shares all of them out",
            *(len(cores), len(launchers)),
        )


def share_of(cores: list[int], rank: int, ranks: int) -> list[int]:
    """Neighbouring cores, as many for each rank as for the others, or one more."""
    return cores[rank * len(cores) // ranks : (rank + 1) * len(cores) // ranks]


def ranks_of_host(environ: Mapping[str, str]) -> tuple[int, int]:
    """(which of the ranks on this host, how many there are), or (0, 1) where the launcher does not tell.

    msrun tells how many there are on all hosts; they are on this one where they meet on its loopback address.
    """
    names = "OMPI_COMM_WORLD_LOCAL_RANK", _LOCAL_SIZE
    if environ.get("MS_ROLE") == "MS_WORKER" and environ.get("MS_SCHED_HOST") == "127.0.0.1":
        names = "MS_NODE_ID", "MS_WORKER_NUM"
    if not all(name in environ for name in names):
        return 0, 1
    return int(environ[names[0]]), int(environ[names[1]])


def cores_of_launcher() -> set[int]:
    """Cores of the nearest ancestor that has no rank, which is the launcher on this host; none if that is hidden.

    Those of a container are its own, too. A script between launcher and rank is bound like the rank.
    """
    import psutil  # MindSpore depends on it

    for ancestor in psutil.Process().parents():
        with suppress(psutil.Error, OSError):
            if not _RANK_VARIABLES & ancestor.environ().keys():
                return os.sched_getaffinity(ancestor.pid)
    return set()
