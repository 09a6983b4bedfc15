"""The parts of an epoch's end: its row, its loss, statistics that all ranks share, the file of rows."""

import csv
import logging
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import reason_of

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
    """The rows of metrics.csv, one per epoch; a resumed run keeps those of the epochs before it."""

    def __init__(self, path: Path, first_epoch: int):
        self.rows: dict[int, dict[str, str]] = {}
        if path.is_file():
            names = {field.name for field in fields(EpochRow)}
            try:
                with open(path, newline="", encoding="utf-8") as file:
                    rows = [{name: row[name] for name in names} for row in csv.DictReader(file)]
                self.rows = {int(row["epoch"]): row for row in rows if int(row["epoch"]) <= first_epoch}
            except (OSError, ValueError, KeyError, csv.Error) as error:
                raise RunError(f"{path}: not the metrics of a run ({reason_of(error)}); remove the file") from None

    def put(self, row: EpochRow) -> None:
        """Add a row, or replace that of its epoch."""
        cells = asdict(row)
        self.rows[row.epoch] = {name: "" if value is None else _cell(value) for name, value in cells.items()}

    def row(self, epoch: int) -> EpochRow | None:
        """The row of an epoch, as far as the file's digits go; None where it has none."""
        if epoch not in self.rows:
            return None
        kinds = get_type_hints(EpochRow)
        cells = {name: cell for name, cell in self.rows[epoch].items() if cell}
        values: dict[str, Any] = {name: (int if kinds[name] is int else float)(cell) for name, cell in cells.items()}
        return EpochRow(**values)

    def text(self) -> str:
        """The whole file."""
        names = [field.name for field in fields(EpochRow)]
        lines = (",".join(row[name] for name in names) for _, row in sorted(self.rows.items()))
        return "\n".join([",".join(names), *lines]) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
