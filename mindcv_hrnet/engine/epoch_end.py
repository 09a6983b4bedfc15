"""The parts of an epoch's end: its loss and accuracy, the file of rows."""

import csv
import logging
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from mindcv_hrnet.engine.rows import EpochRow, cells
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import reason_of

logger = logging.getLogger(__name__)


class EpochTotals(NamedTuple):
    """Mean loss of an epoch's updates over steps and ranks, NaN where there was none, and how many there were.

    `top1`: right answers of all steps and ranks, per cent.
    """

    loss: float
    updates: int
    skipped: int
    top1: float


class EpochMeasure:
    """Loss and accuracy since the last call, over all ranks and the `steps` of an epoch."""

    def __init__(self, step: TrainStep, cluster: Cluster, steps: int):
        self.step, self.cluster, self.steps = step, cluster, steps

    def take(self, epoch: int) -> EpochTotals:
        """Read and reset what the step has added up. RunError where every update overflowed and no scale can fall."""
        totals = self.step.totals.take()
        sums = sum_over_ranks(np.array([totals.loss_sum, totals.accuracy_sum], np.float32), self.cluster)
        loss_sum, accuracy_sum = (float(value) / self.cluster.size for value in sums)
        top1 = 100 * accuracy_sum / self.steps
        if totals.updates:
            return EpochTotals(loss_sum / totals.updates, totals.updates, totals.skipped, top1)
        scale = float(self.step.scale.value.asnumpy())
        if not self.step.scale.dynamic or scale <= 1:
            raise RunError(f"every update of epoch {epoch} overflowed; lower loss_scale, lr or amp_level")
        logger.warning("every update of epoch %d overflowed; the loss scale falls, to %g", epoch, scale)
        return EpochTotals(math.nan, 0, totals.skipped, top1)


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
        self.rows[row.epoch] = cells(row)

    def row(self, epoch: int) -> EpochRow | None:
        """The row of an epoch, as far as the file's digits go; None where it has none."""
        if epoch not in self.rows:
            return None
        kinds = get_type_hints(EpochRow)
        known = {name: cell for name, cell in self.rows[epoch].items() if cell}
        values: dict[str, Any] = {name: (int if kinds[name] is int else float)(cell) for name, cell in known.items()}
        return EpochRow(**values)

    def text(self) -> str:
        """The whole file."""
        names = [field.name for field in fields(EpochRow)]
        lines = (",".join(row[name] for name in names) for _, row in sorted(self.rows.items()))
        return "\n".join([",".join(names), *lines]) + "\n"
