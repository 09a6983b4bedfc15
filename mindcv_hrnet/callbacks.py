"""What happens around the training steps: one class, one job. They share one `EpochRecord`, filled in order."""

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore.train import Callback

from mindcv_hrnet.checkpoint import RunFolder
from mindcv_hrnet.cluster import Cluster, sum_over_ranks
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.files import write_text
from mindcv_hrnet.progress import clock, progress_bar
from mindcv_hrnet.train_step import TrainStep

logger = logging.getLogger(__name__)


@dataclass
class EpochRecord:
    """One row of metrics.csv; epochs count from 1. Callbacks fill it from top to bottom."""

    epoch: int = 0
    step: int = 0
    learning_rate: float = 0.0
    train_loss: float = math.nan
    skipped_updates: int = 0
    images_per_second: float = 0.0
    seconds: float = 0.0
    top1: float | None = None
    top5: float | None = None
    val_loss: float | None = None


@dataclass(frozen=True)
class RunShape:
    """Sizes of a run that several callbacks need."""

    epochs: int
    steps_per_epoch: int
    global_batch_size: int
    first_epoch: int = 0


class Progress(Callback):
    """Loss, rate, images/s and time left: a line every `interval` steps, and a bar on a terminal."""

    def __init__(self, shape: RunShape, schedule: np.ndarray, interval: int, record: EpochRecord, cluster: Cluster):
        super().__init__()
        self.shape, self.schedule, self.interval, self.record, self.cluster = shape, schedule, interval, record, cluster
        self.bar: Any = None

    def on_train_begin(self, run_context: Any) -> None:
        self.begun = self.epoch_start = time.perf_counter()
        self.steps_timed = 0
        self.first_step_seconds: float | None = None

    def on_train_epoch_begin(self, run_context: Any) -> None:
        self.epoch_start = self.last_line = time.perf_counter()
        self.step_in_epoch = self.step_of_last_line = 0
        self.bar = progress_bar(self.shape.steps_per_epoch, "train", self.cluster)

    def on_train_step_end(self, run_context: Any) -> None:
        params = run_context.original_args()
        step = params.cur_step_num
        now = time.perf_counter()
        self.step_in_epoch = (step - 1) % self.shape.steps_per_epoch + 1
        self.bar.update()
        if self.first_step_seconds is None:
            self.first_step_seconds = now - self.begun
            logger.info("first step, compilation included: %.1f s", self.first_step_seconds)
            # rates and time left are those of the steps after it
            self.begun = self.epoch_start = self.last_line = now
            self.step_of_last_line = self.step_in_epoch
        else:
            self.steps_timed += 1
        if self.step_in_epoch % self.interval == 0:
            steps = self.step_in_epoch - self.step_of_last_line
            speed = steps * self.shape.global_batch_size / (now - self.last_line) if steps else 0.0
            self._line(step, float(params.net_outputs.asnumpy()), speed, now)
            self.last_line, self.step_of_last_line = now, self.step_in_epoch

    def _line(self, step: int, loss: float, speed: float, now: float) -> None:
        left = ""
        if self.steps_timed:
            remaining = self.shape.epochs * self.shape.steps_per_epoch - step
            left = f"  left {clock((now - self.begun) / self.steps_timed * remaining)}"
        epoch = (step - 1) // self.shape.steps_per_epoch + 1
        with self.bar.external_write_mode():
            logger.info(
                "epoch %d/%d  step %d/%d  loss %.4f  lr %.3g  %.0f images/s%s",
                *(epoch, self.shape.epochs, self.step_in_epoch, self.shape.steps_per_epoch, loss),
                *(self.schedule[step - 1], speed, left),
            )

    def on_train_epoch_end(self, run_context: Any) -> None:
        params = run_context.original_args()
        now = time.perf_counter()
        self.bar.close()
        first = params.cur_epoch_num == self.shape.first_epoch + 1
        steps = self.shape.steps_per_epoch - (1 if first else 0)
        self.record.epoch = params.cur_epoch_num
        self.record.step = params.cur_epoch_num * self.shape.steps_per_epoch
        self.record.learning_rate = float(self.schedule[self.record.step - 1])
        self.record.seconds = now - self.epoch_start
        self.record.images_per_second = steps * self.shape.global_batch_size / max(self.record.seconds, 1e-9)
        self.record.top1 = self.record.top5 = self.record.val_loss = None


class TrainLoss(Callback):
    """Mean loss of the epoch over steps and ranks; ends the run when it is no longer finite."""

    def __init__(self, step: TrainStep, shape: RunShape, record: EpochRecord, cluster: Cluster, interval: int):
        super().__init__()
        self.step, self.shape, self.record, self.cluster, self.interval = step, shape, record, cluster, interval

    def on_train_step_end(self, run_context: Any) -> None:
        params = run_context.original_args()
        # Reading the loss makes the device wait, so not at every step; overflowed steps may be skipped instead
        if not self.step.skip_overflow and (params.cur_step_num % self.interval == 0 or self.cluster.device == "CPU"):
            self._check(float(params.net_outputs.asnumpy()), params.cur_step_num)

    def on_train_epoch_end(self, run_context: Any) -> None:
        totals = self.step.take_totals()
        loss_sum = sum_over_ranks(np.array([totals.loss_sum], np.float32), self.cluster)
        self.record.train_loss = float(loss_sum[0]) / self.cluster.size / max(totals.updates, 1)
        self.record.skipped_updates = totals.skipped
        self._check(self.record.train_loss, self.record.step)
        if not totals.updates:
            raise RunError(f"every update of epoch {self.record.epoch} overflowed; lower lr or amp_level")

    @staticmethod
    def _check(loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise RunError(
                f"loss is {loss} at step {step}; lower lr, raise warmup_epochs, or in half precision pass "
                "--loss_scale_type dynamic"
            )


class EqualStatistics(Callback):
    """Averages batch-norm statistics over the ranks at the end of an epoch: each rank has seen its own images."""

    def __init__(self, step: TrainStep, cluster: Cluster):
        super().__init__()
        self.cluster = cluster
        # the moving averages of the statistics too
        self.statistics = [p for p in step.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))]

    def on_train_epoch_end(self, run_context: Any) -> None:
        if self.cluster.size == 1:
            return
        values = [parameter.asnumpy() for parameter in self.statistics]
        mean = sum_over_ranks(np.concatenate(values), self.cluster) / self.cluster.size
        ends = np.cumsum([len(value) for value in values])
        for parameter, value in zip(self.statistics, np.split(mean, ends[:-1]), strict=True):
            parameter.set_data(ms.Tensor(value.astype(np.float32)))


class Validate(Callback):
    """Measures the network, or its moving average, every `interval` epochs and after the last."""

    def __init__(self, evaluate: Callable[[], Any], step: TrainStep, interval: int, epochs: int, record: EpochRecord):
        super().__init__()
        self.evaluate, self.step, self.interval, self.epochs, self.record = evaluate, step, interval, epochs, record

    def on_train_epoch_end(self, run_context: Any) -> None:
        if self.record.epoch % self.interval and self.record.epoch != self.epochs:
            return
        with self.step.averaged():
            result = self.evaluate()
        self.record.top1, self.record.top5, self.record.val_loss = result.top1, result.top5, result.loss
        logger.info("epoch %d/%d  %s", self.record.epoch, self.epochs, result)


class MetricsFile(Callback):
    """One row per epoch in metrics.csv; a resumed run keeps the rows of the epochs before it."""

    def __init__(self, path: Path, record: EpochRecord, first_epoch: int):
        super().__init__()
        self.path, self.record = path, record
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= first_epoch]

    def on_train_epoch_end(self, run_context: Any) -> None:
        values = vars(self.record)
        self.rows.append({key: "" if value is None else value for key, value in values.items()})
        lines = [",".join(values)] + [",".join(_cell(row[key]) for key in values) for row in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


class SaveCheckpoint(Callback):
    """Weights and state every `ckpt_save_interval` epochs and after the last."""

    def __init__(self, folder: RunFolder, step: TrainStep, epochs: int, record: EpochRecord):
        super().__init__()
        self.folder, self.step, self.epochs, self.record = folder, step, epochs, record

    def on_train_epoch_end(self, run_context: Any) -> None:
        record = self.record
        if record.epoch % self.folder.train.ckpt_save_interval and record.epoch != self.epochs:
            return
        path = self.folder.save(self.step.weights(), self.step, record.epoch, record.step, record.top1)
        logger.info("epoch %d/%d  train loss %.4f  saved %s", record.epoch, self.epochs, record.train_loss, path)
