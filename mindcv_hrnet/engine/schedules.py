"""Learning rates: pure functions from (step, recipe) to a value, tabulated for the whole run."""

import logging
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.keys import SchedulerConfig

logger = logging.getLogger(__name__)


class Span(NamedTuple):
    """What is left after the warm-up: its length in epochs and in updates."""

    epochs: int
    updates: int


def build_schedule(config: SchedulerConfig, epochs: int, steps_per_epoch: int, accumulation: int = 1) -> np.ndarray:
    """The learning rate of every update of the run, shape (epochs * steps_per_epoch // accumulation,), float32.

    An update follows every `accumulation` steps and has the rate of the first of them. Linear warm-up from
    `lr * warmup_factor` to `lr` over `warmup_epochs`, then the curve. Epochs are counted from the end of the warm-up,
    also those of `multi_step_decay_milestones`, as MindCV counts them. Raises RunError for more cycles than updates.
    """
    if config.warmup_epochs >= epochs:
        reached = config.lr * (config.warmup_factor + (1 - config.warmup_factor) * epochs / config.warmup_epochs)
        logger.warning(
            "warmup_epochs %d lasts as long as epoch_size %d or longer: the rate only rises, to %.3g of lr %.3g; "
            "lower warmup_epochs for a whole curve",
            config.warmup_epochs,
            epochs,
            reached,
            config.lr,
        )
    elif config.scheduler == "cosine_decay" and config.warmup_epochs + config.decay_epochs * config.num_cycles > epochs:
        logger.info(
            "warmup_epochs %d + decay_epochs %d x num_cycles %d outlast epoch_size %d: the rate will not reach min_lr",
            config.warmup_epochs,
            config.decay_epochs,
            config.num_cycles,
            epochs,
        )
    steps = np.arange(epochs * steps_per_epoch // accumulation) * accumulation
    # in epochs, a fraction within each one unless the rate changes once per epoch
    epoch = steps // steps_per_epoch if config.lr_epoch_stair else steps / steps_per_epoch
    warmup = config.warmup_epochs
    left = max(epochs - warmup, 1)  # of a warm-up that outlasts the run the curve is not seen
    span = Span(left, left * steps_per_epoch // accumulation)
    decayed = _CURVES[config.scheduler](np.maximum(epoch - warmup, 0.0), config, span)
    if warmup == 0:
        return decayed.astype(np.float32)
    factor = config.warmup_factor + (1 - config.warmup_factor) * epoch / warmup
    return np.where(epoch < warmup, config.lr * factor, decayed).astype(np.float32)


def rate_of_steps(schedule: np.ndarray, accumulation: int) -> np.ndarray:
    """The learning rate of every step, out of those of the updates; a rest without an update shows the last."""
    steps = np.repeat(schedule, accumulation)
    return np.append(steps, np.repeat(steps[-1:], accumulation - 1))


def _constant(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    return np.full(epoch.shape, config.lr)


def _cosine_decay(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    """SGDR (arXiv:1608.03983, eq. 5): each cycle falls from lr * cycle_decay^i to min_lr, where the last one stays."""
    cycle = np.minimum(epoch // config.decay_epochs, config.num_cycles - 1)
    progress = np.minimum(epoch / config.decay_epochs - cycle, 1.0)
    peak = config.lr * config.cycle_decay**cycle
    return config.min_lr + 0.5 * (peak - config.min_lr) * (1 + np.cos(np.pi * progress))


def _step_decay(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    return config.lr * config.decay_rate ** (np.floor(epoch) // config.decay_epochs)


def _multi_step_decay(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    passed = np.searchsorted(np.array(config.multi_step_decay_milestones), np.floor(epoch), side="right")
    return config.lr * config.decay_rate**passed


def _exponential_decay(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    return config.lr * config.decay_rate**epoch


def _polynomial_decay(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    """From lr to 0 at the end of the run; `decay_rate` is the power."""
    return config.lr * (1 - epoch / span.epochs) ** config.decay_rate


def _one_cycle(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    """arXiv:1708.07120 in two phases: cosines from lr / 25 to lr over 30 % of the updates, and on to min_lr."""
    if span.updates == 1:  # which would be the last one, at min_lr
        return np.array([config.lr])
    update = np.arange(span.updates)
    # counted as in torch.optim.lr_scheduler.OneCycleLR: the first update is at 0, the last one at min_lr
    top, end = 0.3 * span.updates - 1, span.updates - 1
    rise = update / top if top > 0 else np.ones(span.updates)
    fall = (update - top) / max(end - top, 1e-9)
    rising, falling = _half_cosine(config.lr / 25, config.lr, rise), _half_cosine(config.lr, config.min_lr, fall)
    return np.where(update <= top, rising, falling)


def _half_cosine(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    return end + 0.5 * (start - end) * (1 + np.cos(np.pi * progress))


def _cyclic(epoch: np.ndarray, config: SchedulerConfig, span: Span) -> np.ndarray:
    """arXiv:1506.01186, triangular: `num_cycles` times from min_lr up to lr and back."""
    halves = 2 * config.num_cycles
    if span.updates < halves:
        raise RunError(
            f"cyclic: {span.updates} updates are too few for num_cycles {config.num_cycles}; lower num_cycles"
        )
    # in half cycles, whose length need not be whole; where it is, this is torch.optim.lr_scheduler.CyclicLR
    position = np.arange(span.updates) * halves / span.updates % 2
    return config.min_lr + (config.lr - config.min_lr) * (1 - np.abs(position - 1))


_CURVES = {
    "constant": _constant,
    "cosine_decay": _cosine_decay,
    "step_decay": _step_decay,
    "multi_step_decay": _multi_step_decay,
    "exponential_decay": _exponential_decay,
    "polynomial_decay": _polynomial_decay,
    "one_cycle": _one_cycle,
    "cyclic": _cyclic,
}
