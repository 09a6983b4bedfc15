"""Loss scaling for half precision (arXiv:1710.03740, section 3.2), and the check whether an update overflowed."""

import os
from typing import Any

from mindspore import Parameter, Tensor, amp, nn, ops
from mindspore import dtype as mstype

from mindcv_hrnet.recipe.keys import LossConfig

# Halve on overflow, double after this many good updates in a row
GROWTH_INTERVAL = 2000
LARGEST_SCALE = 2.0**24


class LossScale(nn.Cell):
    """The factor on the loss. Called with whether an update's gradients were finite, a dynamic scale moves."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__(auto_prefix=False)
        self.dynamic = config.loss_scale_type in ("dynamic", "auto")
        self.changes_gradients = self.dynamic or config.loss_scale != 1.0
        self.value = Parameter(Tensor(config.loss_scale, mstype.float32), "loss_scale", requires_grad=False)
        self.good_updates = Parameter(Tensor(0, mstype.int32), "good_steps", requires_grad=False)
        self.largest, self.smallest = Tensor(LARGEST_SCALE, mstype.float32), Tensor(1.0, mstype.float32)
        self.growth_interval = GROWTH_INTERVAL

    def construct(self, finite: Tensor) -> Tensor:
        """() bool, whether an update's gradients are finite -> () float32, the scale after it."""
        good = ops.select(finite, self.good_updates + 1, ops.zeros_like(self.good_updates))
        grow = good >= self.growth_interval
        larger = ops.minimum(self.value * 2, self.largest)
        smaller = ops.maximum(self.value / 2, self.smallest)
        scale = ops.select(finite, ops.select(grow, larger, self.value.value()), smaller)
        scale = ops.depend(scale, ops.assign(self.good_updates, ops.select(grow, ops.zeros_like(good), good)))
        return ops.assign(self.value, scale)


class OverflowCheck(nn.Cell):
    """tuple of gradients -> () float32: how many ranks have one that is not finite, the same number on every rank.

    The count is reduced, and not left to what an inf does to the sum of the gradients: the Atlas training series
    saturates, so that its sums stay finite; `amp.all_finite` reads the device's status register there, which each rank
    has for itself. `begin` clears that register of whatever ran before, as MindSpore's own cells do.
    """

    def __init__(self, size: int) -> None:
        super().__init__(auto_prefix=False)
        self.add_up = ops.AllReduce() if size > 1 else nn.Identity()
        self.saturates = saturates()
        if self.saturates:
            self.clear = ops.operations.math_ops.NPUClearFloatStatusV2()
            self.status = Tensor([0] * 8, mstype.int32)

    def begin(self, inputs: Tensor) -> Tensor:
        """`inputs` as they are, once the register is clear: what is computed from them is what the check sees."""
        return ops.depend(inputs, self.clear(self.status)) if self.saturates else inputs

    def own(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """() float32: 1 where a gradient of this rank is not finite, otherwise 0."""
        return 1 - ops.cast(amp.all_finite(gradients), mstype.float32)

    def construct(self, gradients: tuple[Tensor, ...], before: Any = 0.0) -> Tensor:
        """`before`: overflows of this rank in the earlier steps of the update."""
        return self.add_up(self.own(gradients) + before)


def saturates() -> bool:
    """Whether the device gives its largest number instead of inf: Ascend 910 does, 910B where the user asks for it."""
    from mindspore._c_expression import MSContext  # as mindspore.amp does; no public name tells the two apart

    supports = MSContext.get_instance().ascend_soc_supports_feature
    asked = os.environ.get("MS_ASCEND_CHECK_OVERFLOW_MODE") == "SATURATION_MODE"
    return supports("amp_loss_scale_train_classic_target") or (supports("train_hq_dtype_line") and asked)
