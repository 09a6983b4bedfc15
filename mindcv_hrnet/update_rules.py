"""Optimizers that MindSpore lacks, or has for some devices only, as their papers define them.

Each keeps its state in parameters, so that a checkpoint holds it, and takes one learning rate or one per parameter.
"""

from typing import Any

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

_lion = ops.MultitypeFuncGraph("lion")
_lamb = ops.MultitypeFuncGraph("lamb")
_adagrad = ops.MultitypeFuncGraph("adagrad")
_nadam = ops.MultitypeFuncGraph("nadam")
_same = ops.MultitypeFuncGraph("same")


@_same.register("Tensor", "Number")
def _same_rate(rate: Tensor, _: float) -> Tensor:
    return rate


@_lion.register("Tensor", "Number", "Tensor", "Tensor", "Tensor")
def _lion_one(rate: Tensor, decay: float, weight: Parameter, moment: Parameter, gradient: Tensor) -> bool:
    direction = ops.sign(0.9 * moment + 0.1 * gradient)
    moment_after = ops.assign(moment, 0.99 * moment + 0.01 * gradient)
    weight_after = ops.assign(weight, weight - rate * (ops.depend(direction, moment_after) + decay * weight))
    return ops.depend(True, weight_after)


@_lamb.register("Tensor", "Tensor", "Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor")
def _lamb_one(
    correction1: Tensor,
    correction2: Tensor,
    eps: float,
    rate: Tensor,
    decay: float,
    weight: Parameter,
    moment1: Parameter,
    moment2: Parameter,
    gradient: Tensor,
) -> bool:
    mean = 0.9 * moment1 + 0.1 * gradient
    square = 0.999 * moment2 + 0.001 * gradient * gradient
    ratio = (mean / correction1) / (ops.sqrt(square / correction2) + eps) + decay * weight
    length, step = ops.sqrt(ops.reduce_sum(weight * weight)), ops.sqrt(ops.reduce_sum(ratio * ratio))
    # A weight or a step of zero length has no direction to trust more or less
    trusted = ops.logical_and(length > 0, step > 0)
    trust = ops.select(trusted, length / ops.select(trusted, step, ops.ones_like(step)), ops.ones_like(length))
    stored = ops.assign(moment1, mean), ops.assign(moment2, square), ops.assign(weight, weight - rate * trust * ratio)
    return ops.depend(True, stored)


@_nadam.register("Tensor", "Tensor", "Tensor", "Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor")
def _nadam_one(
    share_now: Tensor,
    share_next: Tensor,
    correction2: Tensor,
    eps: float,
    rate: Tensor,
    decay: float,
    weight: Parameter,
    moment1: Parameter,
    moment2: Parameter,
    gradient: Tensor,
) -> bool:
    gradient = gradient + decay * weight
    mean = 0.9 * moment1 + 0.1 * gradient
    square = 0.999 * moment2 + 0.001 * gradient * gradient
    step = (share_now * gradient + share_next * mean) / (ops.sqrt(square / correction2) + eps)
    stored = ops.assign(moment1, mean), ops.assign(moment2, square), ops.assign(weight, weight - rate * step)
    return ops.depend(True, stored)


@_adagrad.register("Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor")
def _adagrad_one(
    eps: float, rate: Tensor, decay: float, weight: Parameter, squares: Parameter, gradient: Tensor
) -> bool:
    gradient = gradient + decay * weight
    total = squares + gradient * gradient
    stored = ops.assign(squares, total), ops.assign(weight, weight - rate * gradient / (ops.sqrt(total) + eps))
    return ops.depend(True, stored)


class _Rule(nn.Optimizer):
    """What the rules share: one rate and one decay per parameter, and the number of updates so far."""

    def __init__(self, params: Any, learning_rate: Any):
        super().__init__(learning_rate, params)
        self.decays = tuple(float(decay) for decay in self.weight_decay)
        self.hyper_map = ops.HyperMap()

    def rates(self) -> tuple[Tensor, ...]:
        """This update's learning rate for every parameter."""
        rate = self.get_lr()
        # not (rate,) * count: graph mode adds that up one by one, deeper than it allows from a thousand parameters on
        return rate if self.is_group_lr else self.hyper_map(ops.partial(_same, rate), self.decays)

    def next_update(self) -> Tensor:
        """Count this update and return its number, from 1, as float32 of shape (1,)."""
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        return ops.cast(self.global_step, mstype.float32)


class Lion(_Rule):
    """Sign of an interpolated momentum, decoupled decay (arXiv:2302.06675, algorithm 2; betas 0.9 and 0.99)."""

    def __init__(self, params: Any, learning_rate: Any):
        super().__init__(params, learning_rate)
        self.moments = self._parameters.clone(prefix="lion_m", init="zeros")

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        rates = self.rates()
        self.next_update()
        return self.hyper_map(_lion, rates, self.decays, self._parameters, self.moments, gradients)


class Lamb(_Rule):
    """Adam's step, rescaled per parameter to the length of the weights (arXiv:1904.00962, algorithm 2, phi(z) = z).

    MindSpore's own has no CPU kernel and is deprecated.
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate)
        self.moments1 = self._parameters.clone(prefix="lamb_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="lamb_v", init="zeros")
        self.eps = eps

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        rates = self.rates()
        update = self.next_update()
        corrections = 1 - ops.pow(0.9, update), 1 - ops.pow(0.999, update)
        rule = ops.partial(_lamb, corrections[0], corrections[1], self.eps)
        return self.hyper_map(rule, rates, self.decays, self._parameters, self.moments1, self.moments2, gradients)


class NAdam(_Rule):
    """Adam with Nesterov momentum (Dozat, 2016; as torch.optim.NAdam, momentum_decay 0.004)."""

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate)
        self.moments1 = self._parameters.clone(prefix="nadam_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="nadam_v", init="zeros")
        self.momentum_product = Parameter(Tensor([1.0], mstype.float32), name="momentum_product")
        self.eps = eps

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        rates = self.rates()
        update = self.next_update()
        momentum, following = self.momentum_of(update), self.momentum_of(update + 1)
        product = self.momentum_product * momentum
        ops.assign(self.momentum_product, product)
        share_now, share_next = (1 - momentum) / (1 - product), following / (1 - product * following)
        rule = ops.partial(_nadam, share_now, share_next, 1 - ops.pow(0.999, update), self.eps)
        return self.hyper_map(rule, rates, self.decays, self._parameters, self.moments1, self.moments2, gradients)

    def momentum_of(self, update: Tensor) -> Tensor:
        return 0.9 * (1 - 0.5 * ops.pow(0.96, 0.004 * update))


class Adagrad(_Rule):
    """Duchi et al., 2011, its sums starting at 0.1 as in MindSpore's own, which has no eps."""

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate)
        self.sums = self._parameters.clone(prefix="accum", init=0.1)
        self.eps = eps

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        rates = self.rates()
        self.next_update()
        rule = ops.partial(_adagrad, self.eps)
        return self.hyper_map(rule, rates, self.decays, self._parameters, self.sums, gradients)
