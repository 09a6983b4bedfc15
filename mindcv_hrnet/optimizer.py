"""How gradients become weights: MindSpore's optimizers where they are right, AdamW and `update_rules` where not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from mindcv_hrnet.config import OptimizerConfig
from mindcv_hrnet.parts import HEAD, STAGES, part_of
from mindcv_hrnet.update_rules import Adagrad, Lamb, Lion, NAdam

BETA1, BETA2 = 0.9, 0.999
# Where the recipe names none: MindCV's for rmsprop, the papers' for the others
EPS = {"rmsprop": 1e-10, "adagrad": 1e-10, "lamb": 1e-6}
DEFAULT_EPS = 1e-8


_adam, _assign = ops.Adam(), ops.Assign()
_update = ops.MultitypeFuncGraph("adamw_update")
_times = ops.MultitypeFuncGraph("times")


@_times.register("Tensor", "Number")
def _times_factor(rate: Tensor, factor: float) -> Tensor:
    return rate * factor


@_update.register("Tensor", "Tensor", "Tensor", "Tensor", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor")
def _update_one(
    beta1_power: Tensor,
    beta2_power: Tensor,
    betas: Tensor,
    eps: Tensor,
    learning_rate: Tensor,
    decay: float,
    parameter: Parameter,
    moment1: Parameter,
    moment2: Parameter,
    gradient: Tensor,
) -> Tensor:
    if decay > 0:
        _assign(parameter, parameter * (1 - learning_rate * decay))
    _adam(parameter, moment1, moment2, beta1_power, beta2_power, learning_rate, betas[0], betas[1], eps, gradient)
    return True


class AdamW(nn.Optimizer):
    """Adam with decoupled weight decay (arXiv:1711.05101, algorithm 2).

    MindSpore's AdamWeightDecay has no bias correction. Here its Adam kernel does the update: the kernel corrects the
    learning rate for the bias, and eps is scaled alike, so that it means what it means in the paper.
    """

    def __init__(self, params: Any, learning_rate: Any, eps: float = 1e-8):
        super().__init__(learning_rate, params)
        self.moments1 = self._parameters.clone(prefix="adam_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="adam_v", init="zeros")
        self.beta1_power = Parameter(Tensor(1.0, mstype.float32), name="beta1_power")
        self.beta2_power = Parameter(Tensor(1.0, mstype.float32), name="beta2_power")
        self.betas = Tensor([BETA1, BETA2], mstype.float32)
        self.eps = eps
        self.decays = tuple(float(decay) for decay in self.weight_decay)
        self.hyper_map = ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        learning_rate = self.get_lr()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        beta1_power = self.beta1_power * self.betas[0]
        beta2_power = self.beta2_power * self.betas[1]
        _assign(self.beta1_power, beta1_power)
        _assign(self.beta2_power, beta2_power)
        eps = self.eps * ops.sqrt(1 - beta2_power)
        # not a tuple of equal rates: graph mode builds one call by call, and runs out of depth at a thousand parameters
        if self.is_group_lr:
            update = ops.partial(_update, beta1_power, beta2_power, self.betas, eps)
            return self.hyper_map(
                update, learning_rate, self.decays, self._parameters, self.moments1, self.moments2, gradients
            )
        update = ops.partial(_update, beta1_power, beta2_power, self.betas, eps, learning_rate)
        return self.hyper_map(update, self.decays, self._parameters, self.moments1, self.moments2, gradients)


def decay_groups(parameters: Sequence[Parameter], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, as `weight_decay_filter` says, in MindSpore's group format."""
    spared = {"disable": (), "auto": ("gamma", "beta"), "norm_and_bias": ("gamma", "beta", "bias")}
    endings = spared[config.weight_decay_filter]
    without = [parameter for parameter in parameters if parameter.name.rsplit(".", 1)[-1] in endings]
    names = {parameter.name for parameter in without}
    groups = [
        {"params": [p for p in parameters if p.name not in names], "weight_decay": config.weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]] + [{"order_params": list(parameters)}]


def rate_factor(name: str, config: OptimizerConfig) -> float:
    """Factor on a parameter's learning rate: `layer_decay` for each part above it, `head_lr_factor` in the head."""
    part = part_of(name)
    if part == HEAD:
        return config.head_lr_factor
    return (config.layer_decay or 1.0) ** (len(STAGES) - STAGES.index(part))


class RatePerParameter(nn.Optimizer):
    """Put before an optimizer among the bases of a class, gives each parameter the schedule's rate times its factor.

    MindSpore's own groups of rates are added up in a loop, whose graph is deeper than it allows from a thousand
    parameters on, and which keeps the table of rates once per parameter.
    """

    def use_factors(self, factors: Sequence[float]) -> None:
        """One factor for each of the optimizer's parameters, in their order."""
        self.factors = tuple(factors)
        self.map_factors = ops.HyperMap()
        self.is_group_lr = True  # what makes the optimizers take a tuple of rates

    def get_lr(self) -> tuple[Tensor, ...]:
        rate = self.learning_rate(self.global_step).reshape(())
        return self.map_factors(ops.partial(_times, rate), self.factors)


def build_optimizer(parameters: Sequence[Parameter], schedule: np.ndarray, config: OptimizerConfig) -> nn.Optimizer:
    """The optimizer that `opt` names, following `schedule` (one learning rate per step)."""
    rates = [float(rate) for rate in schedule]
    groups = decay_groups(parameters, config)
    factors = [rate_factor(parameter.name, config) for parameter in parameters]

    def build(kind: Any, **settings: float | bool) -> nn.Optimizer:
        if all(factor == 1 for factor in factors):
            return kind(groups, rates, **settings)
        optimizer = type(kind.__name__, (RatePerParameter, kind), {})(groups, rates, **settings)
        optimizer.use_factors(factors)
        return optimizer

    eps = EPS.get(config.opt, DEFAULT_EPS) if config.eps is None else config.eps
    if config.opt == "rmsprop":
        return build(nn.RMSProp, momentum=config.momentum, epsilon=eps)
    if config.opt == "lion":
        return build(Lion)
    if config.opt == "adam":
        return build(nn.Adam, beta1=BETA1, beta2=BETA2, eps=eps)
    if config.opt in ("adamw", "adagrad", "lamb", "nadam"):
        return build({"adamw": AdamW, "adagrad": Adagrad, "lamb": Lamb, "nadam": NAdam}[config.opt], eps=eps)
    # nn.Momentum ignores use_nesterov on a CPU; the formula of SGD is the same
    nesterov = config.use_nesterov or config.opt == "nesterov"
    if config.opt == "sgd" or nesterov:
        return build(nn.SGD, momentum=config.momentum, nesterov=nesterov)
    assert config.opt == "momentum"
    return build(nn.Momentum, momentum=config.momentum)
