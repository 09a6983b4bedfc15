"""Gradient accumulation: several steps make one update."""

from collections.abc import Sequence

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

_add, _clear = ops.MultitypeFuncGraph("add"), ops.MultitypeFuncGraph("clear")


@_add.register("Tensor", "Tensor", "Tensor")
def _add_one(factor: Tensor, total: Parameter, gradient: Tensor) -> bool:
    return ops.depend(True, ops.assign_add(total, gradient * factor))


@_clear.register("Tensor")
def _clear_one(total: Parameter) -> bool:
    return ops.depend(True, ops.assign(total, ops.zeros_like(total)))


class Accumulation(nn.Cell):
    """The mean of loss and gradients over `steps` steps, in parameters: a rest without an update outlives the epoch.

    Steps whose gradients overflowed are counted and left out, or the run could not be resumed within an update.
    The names of the parameters are those of state files.
    """

    def __init__(self, trainable: Sequence[Parameter], steps: int) -> None:
        super().__init__(auto_prefix=False)
        self.steps = steps
        self.gradients = ParameterTuple(trainable).clone(prefix="gathered", init="zeros")
        for total in self.gradients:
            total.requires_grad = False
        self.loss = Parameter(Tensor(0, mstype.float32), "gathered_loss", requires_grad=False)
        self.overflows = Parameter(Tensor(0, mstype.float32), "gathered_overflow", requires_grad=False)
        self.done = Parameter(Tensor(0, mstype.int32), "gathered_steps", requires_grad=False)
        self.one, self.none = Tensor(1, mstype.int32), Tensor(0, mstype.int32)
        self.zero = Tensor(0, mstype.float32)
        self.divisor = Tensor(1, mstype.float32)
        self.map_ = ops.HyperMap()

    def construct(
        self, loss: Tensor, gradients: tuple[Tensor, ...], scale: Tensor, overflow: Tensor | None = None
    ) -> Tensor:
        """Add a step with gradients of loss times scale; returns how many steps there are. overflow: 0, or 1 if so."""
        if overflow is None:
            kept = self.keep(loss, gradients, scale)
        elif overflow > 0:
            kept = ops.assign_add(self.overflows, overflow)
        else:
            kept = self.keep(loss, gradients, scale)
        return ops.depend(ops.assign_add(self.done, self.one), kept)

    def keep(self, loss: Tensor, gradients: tuple[Tensor, ...], scale: Tensor) -> Tensor:
        """Add a step to the means; returns the loss so far."""
        added = self.map_(ops.partial(_add, 1 / (scale * self.steps)), self.gradients, gradients)
        return ops.depend(ops.assign_add(self.loss, loss / self.steps), added)

    def clear(self) -> Tensor:
        """Begin the next update."""
        cleared = (
            self.map_(_clear, self.gradients),
            ops.assign(self.loss, self.zero),
            ops.assign(self.overflows, self.zero),
        )
        return ops.depend(ops.assign(self.done, self.none), cleared)
