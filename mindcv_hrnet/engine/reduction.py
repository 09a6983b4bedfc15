"""Gradients averaged over the ranks."""

from mindspore import Tensor, nn, ops

_reduce, _multiply = ops.MultitypeFuncGraph("reduce"), ops.MultitypeFuncGraph("multiply")


@_reduce.register("Function", "Tensor")
def _reduce_one(add_up: ops.Primitive, gradient: Tensor) -> Tensor:
    return add_up(gradient)


@_multiply.register("Tensor", "Tensor")
def _multiply_one(factor: Tensor, gradient: Tensor) -> Tensor:
    return gradient * factor


class Reduction(nn.Cell):
    """(tuple of gradients, () divisor) -> their mean over the ranks, divided; each gradient is multiplied once.

    `divides`: whether the divisor can be anything but 1.
    """

    def __init__(self, size: int, divides: bool) -> None:
        super().__init__(auto_prefix=False)
        self.size = size
        self.multiplies = divides or size > 1
        self.add_up = ops.AllReduce() if size > 1 else None
        self.map_ = ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...], divisor: Tensor) -> tuple[Tensor, ...]:
        """A gradient for each parameter, and what their sums are divided by besides the ranks."""
        if self.add_up is not None:
            gradients = self.map_(ops.partial(_reduce, self.add_up), gradients)
        if self.multiplies:
            gradients = self.map_(ops.partial(_multiply, 1 / (divisor * self.size)), gradients)
        return gradients
