"""What is saved of a training step: which of its parameters are the state, a copy of them, and back into them.

What differs between the ranks is in the state once per rank: batch-norm statistics and the epoch's loss, which are
averaged at an epoch's end only, and gradients of an update that is not complete.
"""

from collections.abc import Mapping

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn

from mindcv_hrnet.engine.rank_agreement import STATISTICS
from mindcv_hrnet.engine.resume import Resumed
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.distributed import Cluster, gather_over_ranks
from mindcv_hrnet.weights import read_entries

# The table of learning rates belongs to the recipe, not to the state
NOT_STATE = ("learning_rate",)
# What each rank has for itself within an epoch, beside the statistics
OWN_TOTALS = ("loss_sum", "accuracy_sum")
GATHERED = "gathered"


def state_of(step_cell: nn.Cell) -> dict[str, Parameter]:
    """Everything that the next step depends on, by name: weights, optimizer, loss scale, totals of the epoch."""
    return {
        name: value
        for name, value in step_cell.parameters_dict().items()
        if not any(part in name for part in NOT_STATE)
    }


def copy_state(
    step_cell: nn.Cell, cluster: Cluster, *, epoch_ends: bool, update_complete: bool
) -> dict[str, np.ndarray]:
    """A copy of the state on the host, on the first rank with what differs on the others; all ranks call it together.

    `epoch_ends`: statistics and totals have just been made equal. `update_complete`: no gradients wait for more.
    """
    parameters = state_of(step_cell)
    copies = {name: np.array(parameter.asnumpy()) for name, parameter in parameters.items()}
    if cluster.size == 1:
        return copies
    differing = [] if epoch_ends else [name for name in copies if name.endswith(STATISTICS) or name in OWN_TOTALS]
    if not update_complete:
        differing += [name for name in copies if name.startswith(GATHERED) and copies[name].dtype == np.float32]
    for name in differing:
        rows = gather_over_ranks(copies[name].ravel(), cluster)
        for rank, row in enumerate(rows[1:], start=1):
            if not np.array_equal(row, rows[0]):
                copies[rank_entry(rank, name)] = row.reshape(copies[name].shape)
    return copies


def rank_entry(rank: int, name: str) -> str:
    """Name of an entry that one rank has for itself."""
    return f"rank{rank}/{name}"


def restore_state(step_cell: nn.Cell, resumed: Resumed, cluster: Cluster) -> None:
    """Put a saved training state back; CheckpointError lists what differs from this recipe's state.

    Where other ranks saved it than are here, each gets the mean of what differed between them.
    """
    saved = read_entries(str(resumed.path))
    own = state_of(step_cell)
    shared = {name for name in saved if not name.startswith("rank")}
    differing = sorted(set(own) ^ shared) or sorted(
        name for name in own if tuple(own[name].shape) != tuple(saved[name].shape)
    )
    if differing:
        raise CheckpointError(
            f"{resumed.path}: was written by another recipe, {len(differing)} entries differ "
            f"({', '.join(differing[:3])}); resume with the config.yaml of its folder"
        )
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(_value(saved, name, resumed.entry.ranks, cluster)))


def _value(saved: Mapping[str, np.ndarray], name: str, ranks: int, cluster: Cluster) -> np.ndarray:
    if ranks == cluster.size:
        return np.array(saved.get(rank_entry(cluster.rank, name), saved[name]))
    of_ranks = [saved.get(rank_entry(rank, name), saved[name]) for rank in range(ranks)]
    if all(value is saved[name] for value in of_ranks):
        return np.array(saved[name])
    return np.mean(of_ranks, axis=0, dtype=np.float64).astype(saved[name].dtype)
