"""The parts of an epoch's end: its row, its loss, statistics that all ranks share, the file of rows."""

import csv
import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochRow:
    """One row of metrics.csv; epochs count from 1, scores are percentages, None where they were not measured."""

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


class EpochTotals(NamedTuple):
    """Mean loss of an epoch's updates over steps and ranks, NaN where there was none, and how many there were."""

    loss: float
    updates: int
    skipped: int


class EpochLoss:
    """The mean loss since the last call, over all ranks."""

    def __init__(self, step: TrainStep, cluster: Cluster):
        self.step, self.cluster = step, cluster

    def take(self, epoch: int) -> EpochTotals:
        """Read and reset what the step has added up. RunError where every update overflowed and no scale can fall."""
        totals = self.step.totals.take()
        loss_sum = sum_over_ranks(np.array([totals.loss_sum], np.float32), self.cluster)
        if totals.updates:
            loss = float(loss_sum[0]) / self.cluster.size / totals.updates
            return EpochTotals(loss, totals.updates, totals.skipped)
        scale = float(self.step.scale.value.asnumpy())
        if not self.step.scale.dynamic or scale <= 1:
            raise RunError(f"every update of epoch {epoch} overflowed; lower loss_scale, lr or amp_level")
        logger.warning("every update of epoch %d overflowed; the loss scale falls, to %g", epoch, scale)
        return EpochTotals(math.nan, 0, totals.skipped)


class MetricsFile:
    """metrics.csv: one row per epoch; a resumed run keeps the rows of the epochs before it."""

    def __init__(self, path: Path, first_epoch: int):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= first_epoch]

    def append(self, row: EpochRow) -> None:
        """Write the file anew, with one more row."""
        names = [field.name for field in fields(EpochRow)]
        self.rows.append({name: "" if getattr(row, name) is None else getattr(row, name) for name in names})
        lines = [",".join(names)] + [",".join(_cell(cells[name]) for name in names) for cells in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
