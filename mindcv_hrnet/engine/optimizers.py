"""How gradients become weights: MindSpore's optimizers where they are right, `update_rules` where not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from mindcv_hrnet.engine.blend import Blend
from mindcv_hrnet.engine.update_rules import BETA1, BETA2, Adagrad, AdamW, Lamb, Lion, NAdam
from mindcv_hrnet.models.stages import HEAD, STAGES, part_of
from mindcv_hrnet.recipe.keys import OptimizerConfig

# Where the recipe names none: MindCV's for rmsprop, the papers' for the others
EPS = {"rmsprop": 1e-10, "adagrad": 1e-10, "lamb": 1e-6}
DEFAULT_EPS = 1e-8
# Optimizers with a Nesterov form that `use_nesterov` chooses
NESTEROV = ("sgd", "momentum", "nesterov", "adam")
# Last parts of the names of parameters without weight decay, by `weight_decay_filter`
NO_DECAY = {"disable": (), "auto": ("gamma", "beta"), "norm_and_bias": ("gamma", "beta", "bias")}

# 4 MB: enough for 800 epochs of ImageNet in batches of 1024, so nearly all runs have one table of this length
TABLE_LENGTH = 2**20


def decay_groups(parameters: Sequence[Parameter], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, as `weight_decay_filter` says, in MindSpore's group format."""
    endings = NO_DECAY[config.weight_decay_filter]
    no_decay = [parameter for parameter in parameters if parameter.name.rsplit(".", 1)[-1] in endings]
    names = {parameter.name for parameter in no_decay}
    groups = [
        {"params": [p for p in parameters if p.name not in names], "weight_decay": config.weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]] + [{"order_params": list(parameters)}]


def lr_scale(name: str, config: OptimizerConfig) -> float:
    """Factor on a parameter's learning rate: `layer_decay` for each part above it, `head_lr_factor` in the head."""
    part = part_of(name)
    if part == HEAD:
        return config.head_lr_factor
    return (config.layer_decay or 1.0) ** (len(STAGES) - STAGES.index(part))


class ScaledRates(nn.Cell):
    """An optimizer whose steps are scaled by a factor per parameter, which equals scaling the learning rate.

    MindSpore's own rates per parameter are looked up one call by call: at an HRNet's thousand parameters graph mode
    runs out of depth. The price is a copy of the scaled weights while the update lasts.
    """

    def __init__(self, optimizer: nn.Optimizer, lr_scales: Sequence[float]) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        scaled = [(p, s) for p, s in zip(optimizer.parameters, lr_scales, strict=True) if s != 1]
        self.blend = Blend([parameter for parameter, _ in scaled], [scale for _, scale in scaled])

    def construct(self, gradients: tuple[Tensor, ...]) -> Any:
        """A gradient for each parameter, in their order -> a True for each that is scaled."""
        before = self.blend.before()
        updated = self.optimizer(gradients)
        return self.blend(ops.depend(before, updated))


def build_optimizer(parameters: Sequence[Parameter], schedule: np.ndarray, config: OptimizerConfig) -> nn.Cell:
    """The optimizer that `opt` names, following `schedule` (one learning rate per update)."""
    optimizer = _optimizer(decay_groups(parameters, config), rate_table(schedule), config)
    scales = [lr_scale(parameter.name, config) for parameter in optimizer.parameters]
    return optimizer if set(scales) == {1.0} else ScaledRates(optimizer, scales)


def table_length(updates: int) -> int:
    """Entries of the table for so many updates. A compiled graph has it, and runs of other lengths share the graph."""
    return -(-updates // TABLE_LENGTH) * TABLE_LENGTH


def rate_table(schedule: np.ndarray) -> Tensor:
    """(updates,) -> (table_length(updates),) float32; what follows is never read, and NaN would show if it were."""
    table = np.full(table_length(len(schedule)), np.nan, np.float32)
    table[: len(schedule)] = schedule
    return Tensor(table)


def _optimizer(groups: list[dict[str, Any]], rates: Tensor, config: OptimizerConfig) -> nn.Optimizer:
    eps = EPS.get(config.opt, DEFAULT_EPS) if config.eps is None else config.eps
    if config.opt == "rmsprop":
        return nn.RMSProp(groups, rates, momentum=config.momentum, epsilon=eps)
    if config.opt == "lion":
        return Lion(groups, rates)
    if config.opt == "adam":
        return nn.Adam(groups, rates, beta1=BETA1, beta2=BETA2, eps=eps, use_nesterov=config.use_nesterov)
    if config.opt in ("adamw", "adagrad", "lamb", "nadam"):
        return {"adamw": AdamW, "adagrad": Adagrad, "lamb": Lamb, "nadam": NAdam}[config.opt](groups, rates, eps=eps)
    # nn.Momentum ignores use_nesterov on a CPU; the formula of SGD is the same
    nesterov = config.use_nesterov or config.opt == "nesterov"
    if config.opt == "sgd" or nesterov:
        return nn.SGD(groups, rates, momentum=config.momentum, nesterov=nesterov)
    assert config.opt == "momentum"
    return nn.Momentum(groups, rates, momentum=config.momentum)
