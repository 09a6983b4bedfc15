"""Launcher detection and collective set-up -> `Cluster(rank, size, ...)`.

Four ways to start: mpirun (Open MPI), msrun (MindSpore's dynamic cluster), a rank table (Ascend), or nothing.
MindSpore's own `init()` serves all of them on Ascend and GPU. On CPU it refuses mpirun, so here the ranks meet over
MindSpore's TCP store, at an address that rank 0 sends through MPI.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mindcv_hrnet.errors import ConfigError, RunError
from mindcv_hrnet.runtime.cores import take_share_of_cores
from mindcv_hrnet.runtime.devices import choose_device

if TYPE_CHECKING:  # its threads must not be there before `runtime.signals` listens
    import numpy as np

logger = logging.getLogger(__name__)

# Ranks may compile for half an hour on a large network, and at different speeds
PATIENCE_S = 3600
# The same for a collective that a faster rank has begun. Atlas training series round down to multiples of 68 s; HCCL's
# default is 1836 s, and MindSpore wants it above its own limit of an operator, 900 s
HCCL_EXEC_S = PATIENCE_S // 68 * 68
# Numbers; a device holds this many of each rank at once
GATHERED_AT_ONCE = 1 << 24
# How long a rank waits with an error that another rank may explain better
SECOND_ERROR_DELAY_S = 4.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Cluster:
    """Who this process is among those that train together. A standalone run is `Cluster()`."""

    rank: int = 0
    size: int = 1
    device: str = "CPU"
    launcher: str = "none"

    @property
    def is_main(self) -> bool:
        """Whether this rank logs and writes."""
        return self.rank == 0

    @property
    def sums_over_mpi(self) -> bool:
        """Whether gradients are added up by MPI, in one tensor: on a CPU MindSpore has TCP alone."""
        return self.size > 1 and self.device == "CPU" and self.launcher == "mpirun"


def launcher_of(environ: Mapping[str, str]) -> tuple[str, int, int]:
    """(launcher, rank, size) that the environment tells: mpirun, msrun, "rank table" or none."""
    if "MS_ROLE" in environ:
        return "msrun", int(environ.get("MS_NODE_ID", -1)), int(environ.get("MS_WORKER_NUM", 1))
    if "OMPI_COMM_WORLD_SIZE" in environ:
        return "mpirun", int(environ["OMPI_COMM_WORLD_RANK"]), int(environ["OMPI_COMM_WORLD_SIZE"])
    if "RANK_TABLE_FILE" in environ and "RANK_ID" in environ:
        return "rank table", int(environ["RANK_ID"]), int(environ.get("RANK_SIZE", 1))
    return "none", 0, 1


def prepare_environment(environ: MutableMapping[str, str]) -> None:
    """Settings that MindSpore reads while it is imported; what the user has set stays."""
    environ.setdefault("GLOG_v", "3")  # errors only: ours are the messages that count
    environ.setdefault("MS_SUBMODULE_LOG_v", "{DISTRIBUTED:3}")
    environ.setdefault("MS_CPU_COMM_OP_TIMEOUT", str(PATIENCE_S))  # its default of 30 s is shorter than a compile
    environ.setdefault("HCCL_CONNECT_TIMEOUT", str(PATIENCE_S))  # 120 to 7200 s, by default 120
    environ.setdefault("HCCL_EXEC_TIMEOUT", str(HCCL_EXEC_S))
    if environ.get("OMPI_COMM_WORLD_SIZE"):
        # Open MPI's own transport warnings say nothing about this job
        environ.setdefault("OMPI_MCA_btl_base_warn_component_unused", "0")


def connect(
    *,
    device_target: str = "auto",
    mode: int = 0,
    jit_level: str | None = None,
    seed: int = 42,
    distribute: bool | None = None,
) -> Cluster:
    """Choose the device and mode, join the other ranks, and say who this process is. The arguments are recipe keys."""
    import mindspore as ms

    launcher, rank, size = launcher_of(os.environ)
    if size > 1 and distribute is False:
        raise ConfigError(
            f"{launcher} started {size} processes, but distribute is False; "
            f"pass --distribute True, or start without {launcher}"
        )
    device = choose_device(device_target, size)
    if device == "CPU":
        take_share_of_cores(os.environ)
    ms.set_device(device)
    ms.set_context(mode=ms.GRAPH_MODE if mode == 0 else ms.PYNATIVE_MODE)
    ms.set_context(jit_config={"jit_level": jit_level} if jit_level else {})
    ms.set_seed(seed)
    if size == 1:
        if distribute and launcher == "none":
            logger.warning(
                "distribute is True, but no launcher (mpirun, msrun, rank table) is at work: running standalone"
            )
        return Cluster(device=device)
    if launcher == "rank table" and device != "Ascend":
        raise ConfigError(f"RANK_TABLE_FILE is for Ascend, the device is {device}; start with mpirun or msrun")
    if launcher == "mpirun" and device == "Ascend" and "RANK_TABLE_FILE" in os.environ:
        raise ConfigError("RANK_TABLE_FILE is set beside mpirun; unset it, mpirun tells the ranks on its own")
    if launcher == "mpirun" and device == "CPU":
        _join_over_mpi(rank, size)
    else:
        ms.communication.init()
    rank, size = ms.communication.get_rank(), ms.communication.get_group_size()
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=size, global_rank=rank
    )
    return Cluster(rank=rank, size=size, device=device, launcher=launcher)


def _join_over_mpi(rank: int, size: int) -> None:
    """CPU ranks started by mpirun: rank 0 opens a TCP store, MPI carries its address, everyone joins."""
    try:
        # MindSpore's public entry to its store (mint.distributed.init_process_group) admits Ascend alone
        from mindspore.communication.management import _init_with_store
        from mindspore.ops.communication import TCPStore
    except ImportError:
        raise ConfigError("this version of MindSpore cannot join CPU ranks under mpirun; start with msrun") from None
    mpi = importlib.import_module("mpi4py.MPI")
    world = mpi.COMM_WORLD
    address = world.bcast((_own_address(), _free_port()) if rank == 0 else None, root=0)
    patience = timedelta(seconds=PATIENCE_S)
    store = TCPStore(*address, world_size=size, is_master=rank == 0, timeout=patience)
    _init_with_store(backend="mccl", rank=rank, world_size=size, store=store, timeout=patience)
    _keep_alive.append(store)


_keep_alive: list[Any] = []


def all_on_this_host() -> bool:
    """Whether mpirun has started all ranks here; other launchers do not say."""
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    return local is not None and local == os.environ.get("OMPI_COMM_WORLD_SIZE")


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine that other hosts may reach."""
    import psutil  # MindSpore depends on it

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name in up and address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


def _own_address() -> str:
    """An IPv4 address of this machine that the other ranks can reach; loopback when all ranks are on it."""
    if all_on_this_host():
        return LOOPBACK
    if addresses := own_addresses():
        return addresses[0]
    raise RunError("no network address that the other hosts could reach; check this host's network")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def sum_over_ranks(values: np.ndarray, cluster: Cluster) -> np.ndarray:
    """Element-wise sum of a float32 vector over all ranks; the vector itself when standalone."""
    if cluster.size == 1:
        return values
    import mindspore as ms
    import numpy as np

    return ms.ops.AllReduce()(ms.Tensor(values.astype(np.float32))).asnumpy()


def gather_over_ranks(values: np.ndarray, cluster: Cluster) -> np.ndarray:
    """(N,) float32 of each rank -> (ranks, N), the same on all."""
    import mindspore as ms
    import numpy as np

    parts = [
        ms.ops.AllGather()(ms.Tensor(part)).asnumpy().reshape(cluster.size, -1)
        for part in np.array_split(values.astype(np.float32), -(-values.size // GATHERED_AT_ONCE))
    ]
    return np.concatenate(parts, axis=1)


def leave_job(exit_code: int, message: str = "", *, echo_possible: bool = False, speaker: int = 0) -> None:
    """Show the cause of a failure once, and leave so that no rank is left waiting. A standalone process only prints.

    Ranks that fail alike would all report: the `speaker` speaks at once, the others a little later, by when the
    launcher has ended them. `echo_possible` marks an error that a peer's failure may have caused (a broken collective):
    there every rank waits, so that the one that failed first is heard.
    """
    launcher, rank, size = launcher_of(os.environ)
    if size == 1:
        if message:
            print(message, file=sys.stderr, flush=True)
        return
    # msrun's scheduler runs the same program; what it has to say is an echo of a worker's failure
    if message and os.environ.get("MS_ROLE") != "MS_SCHED":
        if rank != speaker or echo_possible:
            time.sleep(SECOND_ERROR_DELAY_S)
        with suppress(BrokenPipeError):  # the launcher has ended
            print(f"[rank {rank}] {message}", file=sys.stderr, flush=True)
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    if exit_code:
        os._exit(exit_code)  # ordinary exit would wait for ranks that will never come
    if launcher == "mpirun" and "mpi4py.MPI" in sys.modules:
        sys.modules["mpi4py.MPI"].Finalize()
        os._exit(0)  # without farewell lines of MindSpore's TCP threads; under msrun they sign off at its scheduler
