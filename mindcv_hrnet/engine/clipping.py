"""Gradients clipped by their global norm, and that norm."""

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

_square_sum = ops.MultitypeFuncGraph("square_sum")
_clipped = ops.MultitypeFuncGraph("clipped")


@_square_sum.register("Tensor")
def _square_sum_of(gradient: Tensor) -> Tensor:
    return ops.reshape(ops.cast(ops.reduce_sum(ops.square(gradient)), mstype.float32), (1,))


@_clipped.register("Tensor", "Tensor", "Tensor")
def _clipped_one(limit: Tensor, norm: Tensor, gradient: Tensor) -> Tensor:
    return ops.cast(gradient * limit / norm, gradient.dtype)


class ClipByGlobalNorm(nn.Cell):
    """Gradients -> the same, scaled down to a norm of `limit` over all of them where theirs is above it; their norm.

    The arithmetic of `ops.clip_by_global_norm`, which is deprecated and keeps the norm to itself.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(auto_prefix=False)
        self.limit = Tensor([limit], mstype.float32)
        self.map_, self.partial = ops.HyperMap(), ops.Partial()

    def construct(self, gradients: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        """The clipped gradients, (1,) float32."""
        norm = ops.sqrt(ops.addn(self.map_(_square_sum, gradients)))
        divisor = ops.select(norm >= self.limit, norm, self.limit)
        return self.map_(self.partial(_clipped, self.limit, divisor), gradients), norm
