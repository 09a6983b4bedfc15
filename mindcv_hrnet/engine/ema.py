"""Exponential moving average of a network's parameters."""

from copy import deepcopy
from typing import Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

WARMUP = 2000

_follow = ops.MultitypeFuncGraph("follow")


@_follow.register("Tensor", "Tensor", "Tensor")
def _follow_one(decay: Tensor, average: Parameter, value: Parameter) -> bool:
    return ops.depend(True, ops.assign(average, average * decay + value * (1 - decay)))


class MovingAverage(nn.Cell):
    """Moving averages of all parameters of a network, batch-norm statistics included; each call is an update.

    As in MindCV the decay rises to its value as `decay * (1 - exp(-updates / 2000))`, so that the first, random weights
    are soon forgotten. The averages are the parameters of a second network, which can be validated as it is.
    """

    def __init__(self, network: nn.Cell, decay: float) -> None:
        super().__init__(auto_prefix=False)
        self.decay = decay
        self.followed = ParameterTuple(network.get_parameters())
        # The copy has no backward pass, and what computes a cell again in one cannot be copied
        cells = (cell for _, cell in network.cells_and_names())
        again = {id(cell._recompute_cell): None for cell in cells if cell._recompute_cell is not None}
        self.network = deepcopy(network, again)
        self.averages = ParameterTuple(self.network.get_parameters())
        for average in self.averages:
            average.name = f"ema.{average.name}"
            average.requires_grad = False
        self.updates = Parameter(Tensor(0, mstype.float32), "ema_updates", requires_grad=False)
        self.map_ = ops.HyperMap()

    def construct(self, updated: Any) -> tuple[bool, ...]:
        """Follow the weights, once `updated` is there."""
        updates = ops.depend(self.updates + 1, updated)
        decay = self.decay * (1 - ops.exp(-updates / WARMUP))
        decay = ops.depend(decay, ops.assign(self.updates, updates))
        return self.map_(ops.partial(_follow, decay), self.averages, self.followed)

    def weights(self) -> dict[str, Parameter]:
        """The averages by the names of what they follow."""
        return {parameter.name: average for parameter, average in zip(self.followed, self.averages, strict=True)}
