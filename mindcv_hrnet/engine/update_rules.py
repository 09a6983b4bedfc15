"""Optimizers that MindSpore lacks, has for some devices only, or defines otherwise than their papers.

Each keeps its state in parameters, so that a checkpoint holds it. Their rules update one parameter each:
(..., rate, decay, weight, state ..., gradient) -> True.
"""

from typing import Any

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

BETA1, BETA2 = 0.9, 0.999

_adam = ops.Adam()
_adamw_rule = ops.MultitypeFuncGraph("adamw")
_lion_rule = ops.MultitypeFuncGraph("lion")
_lamb_rule = ops.MultitypeFuncGraph("lamb")
_nadam_rule = ops.MultitypeFuncGraph("nadam")
_adagrad_rule = ops.MultitypeFuncGraph("adagrad")


@_adamw_rule.register(
    "Tensor", "Tensor", "Tensor", "Tensor", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor"
)
def _adamw(
    beta1_power: Tensor,
    beta2_power: Tensor,
    betas: Tensor,
    eps: Tensor,
    rate: Tensor,
    decay: float,
    weight: Parameter,
    moment1: Parameter,
    moment2: Parameter,
    gradient: Tensor,
) -> bool:
    if decay > 0:
        ops.assign(weight, weight * (1 - rate * decay))
    _adam(weight, moment1, moment2, beta1_power, beta2_power, rate, betas[0], betas[1], eps, gradient)
    return True


@_lion_rule.register("Tensor", "Number", "Tensor", "Tensor", "Tensor")
def _lion(rate: Tensor, decay: float, weight: Parameter, moment: Parameter, gradient: Tensor) -> bool:
    direction = ops.sign(0.9 * moment + 0.1 * gradient)
    moment_after = ops.assign(moment, 0.99 * moment + 0.01 * gradient)
    weight_after = ops.assign(weight, weight - rate * (ops.depend(direction, moment_after) + decay * weight))
    return ops.depend(True, weight_after)


@_lamb_rule.register("Tensor", "Tensor", "Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor")
def _lamb(
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
    mean = BETA1 * moment1 + (1 - BETA1) * gradient
    square = BETA2 * moment2 + (1 - BETA2) * gradient * gradient
    ratio = (mean / correction1) / (ops.sqrt(square / correction2) + eps) + decay * weight
    length, step = ops.sqrt(ops.reduce_sum(weight * weight)), ops.sqrt(ops.reduce_sum(ratio * ratio))
    # A weight or a step of zero length has no direction to trust more or less
    trusted = ops.logical_and(length > 0, step > 0)
    trust = ops.select(trusted, length / ops.select(trusted, step, ops.ones_like(step)), ops.ones_like(length))
    stored = ops.assign(moment1, mean), ops.assign(moment2, square), ops.assign(weight, weight - rate * trust * ratio)
    return ops.depend(True, stored)


@_nadam_rule.register(
    "Tensor", "Tensor", "Tensor", "Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor"
)
def _nadam(
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
    mean = BETA1 * moment1 + (1 - BETA1) * gradient
    square = BETA2 * moment2 + (1 - BETA2) * gradient * gradient
    step = (share_now * gradient + share_next * mean) / (ops.sqrt(square / correction2) + eps)
    stored = ops.assign(moment1, mean), ops.assign(moment2, square), ops.assign(weight, weight - rate * step)
    return ops.depend(True, stored)


@_adagrad_rule.register("Number", "Tensor", "Number", "Tensor", "Tensor", "Tensor")
def _adagrad(eps: float, rate: Tensor, decay: float, weight: Parameter, squares: Parameter, gradient: Tensor) -> bool:
    gradient = gradient + decay * weight
    total = squares + gradient * gradient
    stored = ops.assign(squares, total), ops.assign(weight, weight - rate * gradient / (ops.sqrt(total) + eps))
    return ops.depend(True, stored)


class _Optimizer(nn.Optimizer):
    """What the optimizers share: the count of updates, and a rule mapped over the parameters."""

    def __init__(self, params: Any, learning_rate: Any, eps: float = 0.0):
        super().__init__(learning_rate, params)
        assert not self.is_group_lr
        self.decays = tuple(float(decay) for decay in self.weight_decay)
        self.hyper_map = ops.HyperMap()
        self.eps = eps

    def begin(self) -> tuple[Tensor, Tensor]:
        """(learning rate, number of this update from 1 as float32 of shape (1,))."""
        rate = self.get_lr()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        return rate, ops.cast(self.global_step, mstype.float32)


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (arXiv:1711.05101, algorithm 2).

    MindSpore's AdamWeightDecay has no bias correction. Here its Adam kernel does the update: the kernel corrects the
    learning rate for the bias, and eps is scaled alike, so that it means what it means in the paper.
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float = 1e-8):
        super().__init__(params, learning_rate, eps)
        self.moments1 = self._parameters.clone(prefix="adam_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="adam_v", init="zeros")
        self.beta1_power = Parameter(Tensor(1.0, mstype.float32), name="beta1_power")
        self.beta2_power = Parameter(Tensor(1.0, mstype.float32), name="beta2_power")
        self.betas = Tensor([BETA1, BETA2], mstype.float32)

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        rate, _ = self.begin()
        beta1_power = self.beta1_power * self.betas[0]
        beta2_power = self.beta2_power * self.betas[1]
        ops.assign(self.beta1_power, beta1_power)
        ops.assign(self.beta2_power, beta2_power)
        eps = self.eps * ops.sqrt(1 - beta2_power)
        rule = ops.partial(_adamw_rule, beta1_power, beta2_power, self.betas, eps, rate)
        return self.hyper_map(rule, self.decays, self._parameters, self.moments1, self.moments2, gradients)


class Lion(_Optimizer):
    """Sign of an interpolated momentum, decoupled decay (arXiv:2302.06675, algorithm 2; betas 0.9 and 0.99)."""

    def __init__(self, params: Any, learning_rate: Any):
        super().__init__(params, learning_rate)
        self.moments = self._parameters.clone(prefix="lion_m", init="zeros")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        rate, _ = self.begin()
        rule = ops.partial(_lion_rule, rate)
        return self.hyper_map(rule, self.decays, self._parameters, self.moments, gradients)


class Lamb(_Optimizer):
    """Adam's step, rescaled per parameter to the length of the weights (arXiv:1904.00962, algorithm 2, phi(z) = z).

    MindSpore's own has no CPU kernel and is deprecated.
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate, eps)
        self.moments1 = self._parameters.clone(prefix="lamb_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="lamb_v", init="zeros")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        rate, update = self.begin()
        rule = ops.partial(_lamb_rule, 1 - ops.pow(BETA1, update), 1 - ops.pow(BETA2, update), self.eps, rate)
        return self.hyper_map(rule, self.decays, self._parameters, self.moments1, self.moments2, gradients)


class NAdam(_Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016; as torch.optim.NAdam, momentum_decay 0.004)."""

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate, eps)
        self.moments1 = self._parameters.clone(prefix="nadam_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="nadam_v", init="zeros")
        self.momentum_product = Parameter(Tensor([1.0], mstype.float32), name="momentum_product")

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        rate, update = self.begin()
        momentum, following = self.momentum_of(update), self.momentum_of(update + 1)
        product = self.momentum_product * momentum
        ops.assign(self.momentum_product, product)
        share_now, share_next = (1 - momentum) / (1 - product), following / (1 - product * following)
        rule = ops.partial(_nadam_rule, share_now, share_next, 1 - ops.pow(BETA2, update), self.eps, rate)
        return self.hyper_map(rule, self.decays, self._parameters, self.moments1, self.moments2, gradients)

    def momentum_of(self, update: Tensor) -> Tensor:
        return BETA1 * (1 - 0.5 * ops.pow(0.96, 0.004 * update))


class Adagrad(_Optimizer):
    """Duchi et al., 2011, its sums starting at 0.1 as in MindSpore's own, which has no eps."""

    def __init__(self, params: Any, learning_rate: Any, eps: float):
        super().__init__(params, learning_rate, eps)
        self.sums = self._parameters.clone(prefix="accum", init=0.1)

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        rate, _ = self.begin()
        rule = ops.partial(_adagrad_rule, self.eps, rate)
        return self.hyper_map(rule, self.decays, self._parameters, self.sums, gradients)
