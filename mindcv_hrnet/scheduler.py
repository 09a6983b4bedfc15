"""Learning rates: pure functions from (step, recipe) to a value, tabulated for the whole run."""

import logging

import numpy as np

from mindcv_hrnet.config import SchedulerConfig

logger = logging.getLogger(__name__)


def build_schedule(config: SchedulerConfig, epochs: int, steps_per_epoch: int) -> np.ndarray:
    """The learning rate of every step of the run, shape (epochs * steps_per_epoch,), float32.

    Linear warm-up from `lr * warmup_factor` to `lr` over `warmup_epochs`, then the curve. Epochs are counted from the
    end of the warm-up, also those of `multi_step_decay_milestones`, as MindCV counts them.
    """
    if config.scheduler == "cosine_decay" and config.warmup_epochs + config.decay_epochs * config.num_cycles > epochs:
        logger.info(
            "warmup_epochs %d + decay_epochs %d x num_cycles %d outlast epoch_size %d: the rate will not reach min_lr",
            config.warmup_epochs,
            config.decay_epochs,
            config.num_cycles,
            epochs,
        )
    steps = np.arange(epochs * steps_per_epoch)
    # in epochs, a fraction within each one unless the rate changes once per epoch
    epoch = steps // steps_per_epoch if config.lr_epoch_stair else steps / steps_per_epoch
    warmup = config.warmup_epochs
    decayed = _CURVES[config.scheduler](np.maximum(epoch - warmup, 0.0), config)
    if warmup == 0:
        return decayed.astype(np.float32)
    factor = config.warmup_factor + (1 - config.warmup_factor) * epoch / warmup
    return np.where(epoch < warmup, config.lr * factor, decayed).astype(np.float32)


def _constant(epoch: np.ndarray, config: SchedulerConfig) -> np.ndarray:
    return np.full(epoch.shape, config.lr)


def _cosine_decay(epoch: np.ndarray, config: SchedulerConfig) -> np.ndarray:
    """SGDR (arXiv:1608.03983, eq. 5): each cycle falls from lr * cycle_decay^i to min_lr, where the last one stays."""
    cycle = np.minimum(epoch // config.decay_epochs, config.num_cycles - 1)
    progress = np.minimum(epoch / config.decay_epochs - cycle, 1.0)
    peak = config.lr * config.cycle_decay**cycle
    return config.min_lr + 0.5 * (peak - config.min_lr) * (1 + np.cos(np.pi * progress))


def _step_decay(epoch: np.ndarray, config: SchedulerConfig) -> np.ndarray:
    return config.lr * config.decay_rate ** (np.floor(epoch) // config.decay_epochs)


def _multi_step_decay(epoch: np.ndarray, config: SchedulerConfig) -> np.ndarray:
    passed = np.searchsorted(np.array(config.multi_step_decay_milestones), np.floor(epoch), side="right")
    return config.lr * config.decay_rate**passed


_CURVES = {
    "constant": _constant,
    "cosine_decay": _cosine_decay,
    "step_decay": _step_decay,
    "multi_step_decay": _multi_step_decay,
}
