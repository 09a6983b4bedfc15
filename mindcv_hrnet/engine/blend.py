"""Parameters after a computation, blended with what they were before it."""

from collections.abc import Sequence

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindcv_hrnet.models.layers import BatchNorm

_copy, _blend = ops.MultitypeFuncGraph("copy"), ops.MultitypeFuncGraph("blend")


@_copy.register("Tensor")
def _copy_one(parameter: Parameter) -> Tensor:
    return ops.deepcopy(parameter)


@_blend.register("Number", "Tensor", "Tensor")
def _blend_one(share: float, before: Tensor, parameter: Parameter) -> bool:
    return ops.depend(True, ops.assign(parameter, before + share * (parameter - before)))


class Blend(nn.Cell):
    """`kept = blend.before()`, then the computation, then `blend(kept)`: parameter <- before + share * its change.

    One share for each parameter. The price is a copy of the parameters while the computation lasts.
    """

    def __init__(self, parameters: Sequence[Parameter], shares: Sequence[float]) -> None:
        super().__init__(auto_prefix=False)
        assert len(parameters) == len(shares)
        self.parameters = ParameterTuple(parameters)
        self.shares = tuple(shares)
        self.map_ = ops.HyperMap()

    def before(self) -> tuple[Tensor, ...]:
        """Copies of the parameters as they are."""
        return self.map_(_copy, self.parameters)

    def construct(self, before: tuple[Tensor, ...]) -> tuple[bool, ...]:
        """`before`: what the parameters were, in their order -> a True for each."""
        return self.map_(_blend, self.shares, before, self.parameters)


def moving_statistics(network: nn.Cell) -> Blend:
    """What `recompute` leaves to be done around the gradients.

    Its kernels replace the moving statistics by the batch's. Blended with what they were, the statistics have moved
    once, although the kernels ran twice.
    """
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, BatchNorm)]
    norms = [norm for norm in norms if norm.moves_later and not norm.frozen]
    statistics = [parameter for norm in norms for parameter in (norm.moving_mean, norm.moving_variance)]
    return Blend(statistics, [1 - norm.momentum for norm in norms for _ in range(2)])
