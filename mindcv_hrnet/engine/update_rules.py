"""Optimizers that MindSpore lacks, has for some devices only, or defines otherwise than their papers.

Each keeps its state in parameters, so that a checkpoint holds it. A rule updates one parameter: it takes what all
parameters share (tensors), the parameter's weight decay, the weight, its state and its gradient, and returns something
that depends on every write.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

BETA1, BETA2 = 0.9, 0.999

_adam_weight_decay = ops.AdamWeightDecay()


def _rule(update: Callable[..., Any]) -> ops.MultitypeFuncGraph:
    """The function as `HyperMap` takes it, with the types that its annotations name."""
    arguments = inspect.signature(update).parameters.values()
    kinds = ["Number" if argument.annotation is float else "Tensor" for argument in arguments]
    graph = ops.MultitypeFuncGraph(update.__name__)
    graph.register(*kinds)(update)
    return graph


@_rule
def _adamw(
    beta1: Tensor,
    beta2: Tensor,
    eps: Tensor,
    rate: Tensor,
    decay_scale: Tensor,
    decay: float,
    weight: Parameter,
    mean: Parameter,
    square: Parameter,
    gradient: Tensor,
) -> Any:
    return _adam_weight_decay(weight, mean, square, rate, beta1, beta2, eps, decay_scale * decay, gradient)[0]


@_rule
def _lion(rate: Tensor, decay: float, weight: Parameter, mean: Parameter, gradient: Tensor) -> Any:
    direction = ops.sign(0.9 * mean + 0.1 * gradient)
    mean_after = ops.assign(mean, 0.99 * mean + 0.01 * gradient)
    return ops.assign(weight, weight - rate * (ops.depend(direction, mean_after) + decay * weight))


@_rule
def _lamb(
    correction1: Tensor,
    correction2: Tensor,
    eps: Tensor,
    rate: Tensor,
    decay: float,
    weight: Parameter,
    mean: Parameter,
    square: Parameter,
    gradient: Tensor,
) -> Any:
    mean_now, square_now = _moments(mean, square, gradient)
    ratio = (mean_now / correction1) / (ops.sqrt(square_now / correction2) + eps) + decay * weight
    length, step = ops.sqrt(ops.reduce_sum(weight * weight)), ops.sqrt(ops.reduce_sum(ratio * ratio))
    # A weight or a step of zero length has no direction to trust more or less
    trusted = ops.logical_and(length > 0, step > 0)
    trust = ops.select(trusted, length / ops.select(trusted, step, ops.ones_like(step)), ops.ones_like(length))
    return _store(mean, mean_now, square, square_now, weight, weight - rate * trust * ratio)


@_rule
def _nadam(
    share_now: Tensor,
    share_next: Tensor,
    correction2: Tensor,
    eps: Tensor,
    rate: Tensor,
    decay: float,
    weight: Parameter,
    mean: Parameter,
    square: Parameter,
    gradient: Tensor,
) -> Any:
    gradient = gradient + decay * weight
    mean_now, square_now = _moments(mean, square, gradient)
    step = (share_now * gradient + share_next * mean_now) / (ops.sqrt(square_now / correction2) + eps)
    return _store(mean, mean_now, square, square_now, weight, weight - rate * step)


@_rule
def _adagrad(eps: Tensor, rate: Tensor, decay: float, weight: Parameter, squares: Parameter, gradient: Tensor) -> Any:
    gradient = gradient + decay * weight
    total = squares + gradient * gradient
    return ops.assign(squares, total), ops.assign(weight, weight - rate * gradient / (ops.sqrt(total) + eps))


def _moments(mean: Parameter, square: Parameter, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Running mean of gradients and of their squares, as Adam has them."""
    return BETA1 * mean + (1 - BETA1) * gradient, BETA2 * square + (1 - BETA2) * gradient * gradient


def _store(
    mean: Parameter, mean_now: Tensor, square: Parameter, square_now: Tensor, weight: Parameter, weight_now: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return ops.assign(mean, mean_now), ops.assign(square, square_now), ops.assign(weight, weight_now)


class _Optimizer(nn.Optimizer):
    """What the optimizers share: the count of updates, the weight decay of each parameter, and its state."""

    def __init__(self, params: Any, learning_rate: Any, eps: float = 0.0) -> None:
        super().__init__(learning_rate, params)
        assert not self.is_group_lr
        self.decays = tuple(float(decay) for decay in self.weight_decay)
        self.eps = Tensor(eps, mstype.float32)
        self.map_ = ops.HyperMap()

    def state(self, prefix: str, init: Any = "zeros") -> ParameterTuple:
        """One tensor for each parameter, by its name behind `prefix`."""
        return self._parameters.clone(prefix=prefix, init=init)

    def rate(self) -> Tensor:
        """Learning rate of this update, which counts from here on."""
        rate = self.get_lr()
        return ops.depend(rate, self.assignadd(self.global_step, self.global_step_increase_tensor))

    def updates(self, rate: Tensor) -> Tensor:
        """Number of the update that has this rate, from 1, as float32 of shape (1,)."""
        return ops.cast(ops.depend(self.global_step, rate), mstype.float32)


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (arXiv:1711.05101, algorithm 2).

    MindSpore's kernel has no bias correction. With corrections c1 = 1 - beta1^t and c2 = 1 - beta2^t

        weight - rate * (mean / c1 / (sqrt(square / c2) + eps) + decay * weight)

    is what the kernel computes of rate * sqrt(c2) / c1, eps * sqrt(c2) and decay * c1 / sqrt(c2).
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float = 1e-8) -> None:
        super().__init__(params, learning_rate, eps)
        self.means, self.squares = self.state("adam_m"), self.state("adam_v")
        self.beta1_power = Parameter(Tensor(1.0, mstype.float32), name="beta1_power")
        self.beta2_power = Parameter(Tensor(1.0, mstype.float32), name="beta2_power")
        self.beta1, self.beta2 = Tensor(BETA1, mstype.float32), Tensor(BETA2, mstype.float32)

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter -> a result for each, once the update is done."""
        rate = self.rate()
        beta1_power, beta2_power = self.beta1_power * self.beta1, self.beta2_power * self.beta2
        ops.assign(self.beta1_power, beta1_power)
        ops.assign(self.beta2_power, beta2_power)
        correction1, root2 = 1 - beta1_power, ops.sqrt(1 - beta2_power)
        eps, rate = self.eps * root2, rate * root2 / correction1
        rule = ops.partial(_adamw, self.beta1, self.beta2, eps, rate, correction1 / root2)
        return self.map_(rule, self.decays, self._parameters, self.means, self.squares, gradients)


class Lion(_Optimizer):
    """Sign of an interpolated momentum, decoupled decay (arXiv:2302.06675, algorithm 2; betas 0.9 and 0.99)."""

    def __init__(self, params: Any, learning_rate: Any) -> None:
        super().__init__(params, learning_rate)
        self.means = self.state("lion_m")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter -> a result for each, once the update is done."""
        rule = ops.partial(_lion, self.rate())
        return self.map_(rule, self.decays, self._parameters, self.means, gradients)


class Lamb(_Optimizer):
    """Adam's step, rescaled per parameter to the length of the weights (arXiv:1904.00962, algorithm 2, phi(z) = z).

    MindSpore's own has no CPU kernel and is deprecated.
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float) -> None:
        super().__init__(params, learning_rate, eps)
        self.means, self.squares = self.state("lamb_m"), self.state("lamb_v")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter -> a result for each, once the update is done."""
        rate = self.rate()
        update = self.updates(rate)
        rule = ops.partial(_lamb, 1 - ops.pow(BETA1, update), 1 - ops.pow(BETA2, update), self.eps, rate)
        return self.map_(rule, self.decays, self._parameters, self.means, self.squares, gradients)


class NAdam(_Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016; as torch.optim.NAdam, momentum_decay 0.004)."""

    def __init__(self, params: Any, learning_rate: Any, eps: float) -> None:
        super().__init__(params, learning_rate, eps)
        self.means, self.squares = self.state("nadam_m"), self.state("nadam_v")
        self.momentum_product = Parameter(Tensor([1.0], mstype.float32), name="momentum_product")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter -> a result for each, once the update is done."""
        rate = self.rate()
        update = self.updates(rate)
        momentum, following = self.momentum_of(update), self.momentum_of(update + 1)
        product = self.momentum_product * momentum
        ops.assign(self.momentum_product, product)
        share_now, share_next = (1 - momentum) / (1 - product), following / (1 - product * following)
        rule = ops.partial(_nadam, share_now, share_next, 1 - ops.pow(BETA2, update), self.eps, rate)
        return self.map_(rule, self.decays, self._parameters, self.means, self.squares, gradients)

    def momentum_of(self, update: Tensor) -> Tensor:
        """The momentum of an update, which rises from 0.45 to 0.9."""
        return BETA1 * (1 - 0.5 * ops.pow(0.96, 0.004 * update))


class Adagrad(_Optimizer):
    """Duchi et al., 2011, its sums starting at 0.1 as in MindSpore's own, which has no eps."""

    def __init__(self, params: Any, learning_rate: Any, eps: float) -> None:
        super().__init__(params, learning_rate, eps)
        self.sums = self.state("accum", init=0.1)

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter -> a result for each, once the update is done."""
        rule = ops.partial(_adagrad, self.eps, self.rate())
        return self.map_(rule, self.decays, self._parameters, self.sums, gradients)
