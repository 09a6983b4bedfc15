"""What an epoch adds up to, counted on the device, so that it is known also where Python sees the epoch's end only."""

from typing import NamedTuple

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype


class Totals(NamedTuple):
    """What an epoch added up to. `loss_sum` has the mean loss of each of the `updates` that were made.

    `accuracy_sum` has the share of right answers of each step.
    """

    loss_sum: float
    updates: int
    skipped: int
    accuracy_sum: float


class RunningTotals(nn.Cell):
    """Loss, updates, skipped updates and answers since the last `take`; the gradient's norm in the last update."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.loss_sum = Parameter(Tensor(0, mstype.float32), "loss_sum", requires_grad=False)
        self.updates = Parameter(Tensor(0, mstype.int32), "updates", requires_grad=False)
        self.skipped = Parameter(Tensor(0, mstype.int32), "skipped_updates", requires_grad=False)
        self.accuracy_sum = Parameter(Tensor(0, mstype.float32), "accuracy_sum", requires_grad=False)
        self.gradient_norm = Parameter(Tensor([0], mstype.float32), "gradient_norm", requires_grad=False)
        self.one = Tensor(1, mstype.int32)

    def add(self, loss: Tensor) -> Tensor:
        """Count an update; returns how many there are."""
        return ops.depend(ops.assign_add(self.updates, self.one), ops.assign_add(self.loss_sum, loss))

    def skip(self) -> Tensor:
        """Count an update that was not made; returns how many there are."""
        return ops.assign_add(self.skipped, self.one)

    def answer(self, accuracy: Tensor) -> Tensor:
        """Add the () float32 share of right answers of a step; returns the sum."""
        return ops.assign_add(self.accuracy_sum, accuracy)

    def measure(self, norm: Tensor) -> Tensor:
        """Note (1,) the norm of an update's gradients."""
        return ops.assign(self.gradient_norm, norm)

    def take(self) -> Totals:
        """What has added up, and back to zero."""
        counters = self.loss_sum, self.updates, self.skipped, self.accuracy_sum
        # numbers before the reset: an array may share its memory with the counter
        loss_sum, updates, skipped, accuracy_sum = (counter.asnumpy().item() for counter in counters)
        for counter in counters:
            # not `set_data`: branches of a compiled graph keep the memory that it replaces
            ops.assign(counter, Tensor(0, counter.dtype))
        return Totals(loss_sum, updates, skipped, accuracy_sum)
