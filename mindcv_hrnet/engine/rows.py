"""The numbers of a step and of an epoch. Shares and scores are per cent, None where there is nothing to say."""

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class StepRow:
    """One row of steps.csv: what is known every `log_interval` steps; epochs and steps of the run count from 1.

    `top1` is of the epoch so far; loss and top-1 are of this rank's images. `images_per_second` and `data_wait`, the
    share of the time that went by without a batch, are of the time since the row before.
    """

    epoch: int
    step: int
    loss: float
    top1: float
    learning_rate: float
    loss_scale: float
    gradient_norm: float | None = None
    images_per_second: float | None = None
    data_wait: float | None = None
    device_memory_gib: float | None = None


@dataclass(frozen=True)
class EpochRow:
    """One row of metrics.csv; training loss and top-1 are of all ranks, the others are None until they are measured."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float = math.nan
    skipped_updates: int = 0
    images_per_second: float = 0.0
    seconds: float = 0.0
    top1: float | None = None
    top5: float | None = None
    val_loss: float | None = None
    train_top1: float | None = None
    data_wait: float | None = None


def cells(row: StepRow | EpochRow) -> dict[str, str]:
    """The cells of a row in its file, by column."""
    return {name: "" if value is None else _cell(value) for name, value in asdict(row).items()}


def _cell(value: float) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
