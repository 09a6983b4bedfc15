"""What all ranks must hold alike: batch-norm statistics are made so at an epoch's end, weights are checked to be so."""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

from mindcv_hrnet.engine.reduction import Reduction
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks

STATISTICS = ("moving_mean", "moving_variance")
_store = ops.MultitypeFuncGraph("store")


@_store.register("Tensor", "Tensor")
def _store_one(parameter: Parameter, value: Tensor) -> Tensor:
    return ops.assign(parameter, value)


class MeanOverRanks(nn.Cell):
    """Gives every rank the mean of all for some parameters, in one graph: each rank has seen its own images."""

    def __init__(self, parameters: Sequence[Parameter], cluster: Cluster) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.reduce = Reduction(parameters, cluster, divides=False)
        self.one = Tensor(1, mstype.float32)
        self.map_ = ops.HyperMap()

    def construct(self) -> tuple[Tensor, ...]:
        """The parameters, once they are stored."""
        mean = self.reduce(self.parameters, self.one)
        return self.map_(_store, self.parameters, self.reduce.unpack(mean))


def fingerprint(network: nn.Cell, *, statistics: bool = True) -> int:
    """32 bits of all values of a network's parameters, with or without `statistics`: one bit of a weight changes it."""
    digest = 0
    for parameter in network.get_parameters():
        if not statistics and parameter.name.endswith(STATISTICS):
            continue
        digest = zlib.crc32(parameter.asnumpy().tobytes(), digest)
    return digest


def check_equal_weights(network: nn.Cell, cluster: Cluster, epoch: int = 0, *, within: bool = False) -> None:
    """Raise RunError, on every rank and naming those that differ, unless all hold the same bits. 0: at the start.

    `within` an epoch each rank has its own batch-norm statistics.
    """
    if cluster.size == 1:
        return
    prints = np.zeros((cluster.size, 2), np.float32)
    own = fingerprint(network, statistics=not within)
    prints[cluster.rank] = divmod(own, 2**16)  # float32 holds halves of it exactly
    together = [tuple(row) for row in sum_over_ranks(prints, cluster).tolist()]
    usual, _ = Counter(together).most_common(1)[0]
    others = [str(rank) for rank, row in enumerate(together) if row != usual]
    if not others:
        return
    who = f"rank{'s' if len(others) > 1 else ''} {', '.join(others)}"
    if not epoch:
        raise RunError(f"{who}: other weights to start from; give every rank the same seed and ckpt_path")
    raise RunError(
        f"{who}: weights differ from the other ranks' after epoch {epoch}; nothing of it is saved, resume from the "
        "epoch before, on another device if it happens again"
    )


class Agreement:
    """What the ranks do together when an epoch ends."""

    def __init__(self, step: TrainStep, cluster: Cluster) -> None:
        self.network, self.cluster = step.network, cluster
        # those of the moving average too
        moving = [p for p in step.get_parameters() if p.name.endswith(STATISTICS)]
        self.equalise = MeanOverRanks(moving, cluster) if moving and cluster.size > 1 else None

    def after_epoch(self, epoch: int) -> None:
        """Share the batch-norm statistics; RunError where the weights are not those of the other ranks."""
        if self.equalise is not None:
            self.equalise()
        check_equal_weights(self.network, self.cluster, epoch)
