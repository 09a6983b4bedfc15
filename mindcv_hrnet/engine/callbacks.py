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

from mindcv_hrnet.engine.run_folder import RunFolder
from mindcv_hrnet.engine.step import TrainStep, overwrite
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import write_text
from mindcv_hrnet.runtime.progress import clock, progress_bar

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

    def step(self, run_context: Any) -> int:
        """Steps of the run that are done. MindSpore counts those of this process, also after a resume."""
        return int(run_context.original_args().cur_step_num) + self.first_epoch * self.steps_per_epoch


class Progress(Callback):
    """Loss, rate, images/s and time left: a line every `interval` steps and at an epoch's end, a bar on a terminal.

    In sink mode MindSpore calls back once per epoch instead of once per step. Where more steps follow in the epoch, the
    clocks start after the first one, which pays for the compilation.
    """

    def __init__(self, shape: RunShape, schedule: np.ndarray, interval: int, record: EpochRecord, cluster: Cluster):
        super().__init__()
        self.shape, self.schedule, self.interval, self.record, self.cluster = shape, schedule, interval, record, cluster

    def on_train_begin(self, run_context: Any) -> None:
        self.begun = time.perf_counter()
        self.steps_done = self.steps_untimed = self.shape.first_epoch * self.shape.steps_per_epoch
        self.compiled = False

    def on_train_epoch_begin(self, run_context: Any) -> None:
        self.bar = progress_bar(self.shape.steps_per_epoch, "train", self.cluster)
        self._start_clocks()

    def _start_clocks(self) -> None:
        self.epoch_start = self.last_line = time.perf_counter()
        self.steps_at_epoch_start = self.steps_at_last_line = self.steps_done

    def on_train_step_end(self, run_context: Any) -> None:
        step = self.shape.step(run_context)
        self.bar.update(step - self.steps_done)
        self.steps_done = step
        in_epoch = (self.steps_done - 1) % self.shape.steps_per_epoch + 1
        epoch_ends = in_epoch == self.shape.steps_per_epoch
        if not self.compiled:
            seconds = time.perf_counter() - self.begun
            logger.info("first %s, compilation included: %.1f s", "step" if in_epoch == 1 else "epoch", seconds)
            self.compiled = True
            if not epoch_ends:
                self.begun, self.steps_untimed = time.perf_counter(), self.steps_done
                self._start_clocks()
        if in_epoch % self.interval == 0 or epoch_ends:
            self._line(in_epoch, float(run_context.original_args().net_outputs.asnumpy()))

    def _line(self, in_epoch: int, loss: float) -> None:
        now, pace = time.perf_counter(), ""
        if self.steps_done > self.steps_at_last_line:
            speed = (self.steps_done - self.steps_at_last_line) * self.shape.global_batch_size / (now - self.last_line)
            per_step = (now - self.begun) / (self.steps_done - self.steps_untimed)
            remaining = self.shape.epochs * self.shape.steps_per_epoch - self.steps_done
            pace = f"  {speed:.0f} images/s  left {clock(per_step * remaining)}"
        epoch = (self.steps_done - 1) // self.shape.steps_per_epoch + 1
        with self.bar.external_write_mode():
            logger.info(
                "epoch %d/%d  step %d/%d  loss %.4f  lr %.3g%s",
                *(epoch, self.shape.epochs, in_epoch, self.shape.steps_per_epoch, loss),
                *(self.schedule[self.steps_done - 1], pace),
            )
        self.last_line, self.steps_at_last_line = now, self.steps_done

    def on_train_epoch_end(self, run_context: Any) -> None:
        self.bar.close()
        record = self.record
        record.epoch = run_context.original_args().cur_epoch_num
        record.step = self.steps_done
        record.learning_rate = float(self.schedule[self.steps_done - 1])
        record.seconds = time.perf_counter() - self.epoch_start
        images = (self.steps_done - self.steps_at_epoch_start) * self.shape.global_batch_size
        record.images_per_second = images / record.seconds
        record.top1 = record.top5 = record.val_loss = None


class TrainLoss(Callback):
    """Mean loss of the epoch over steps and ranks; ends the run when it is no longer finite."""

    def __init__(self, step: TrainStep, shape: RunShape, record: EpochRecord, cluster: Cluster, interval: int):
        super().__init__()
        self.step, self.shape, self.record, self.cluster, self.interval = step, shape, record, cluster, interval

    def on_train_step_end(self, run_context: Any) -> None:
        step = self.shape.step(run_context)
        # Reading the loss makes the device wait, so not at every step; overflowed steps may be skipped instead
        if not self.step.skip_overflow and (step % self.interval == 0 or self.cluster.device == "CPU"):
            self._check(float(run_context.original_args().net_outputs.asnumpy()), step)

    def on_train_epoch_end(self, run_context: Any) -> None:
        totals = self.step.take_totals()
        loss_sum = sum_over_ranks(np.array([totals.loss_sum], np.float32), self.cluster)
        self.record.train_loss = float(loss_sum[0]) / self.cluster.size / max(totals.updates, 1)
        self.record.skipped_updates = totals.skipped
        self._check(self.record.train_loss, self.record.step)
        if not totals.updates:
            self.record.train_loss = math.nan
            scale = float(self.step.loss_scale.asnumpy())
            if not self.step.dynamic or scale <= 1:
                raise RunError(
                    f"every update of epoch {self.record.epoch} overflowed; lower loss_scale, lr or amp_level"
                )
            logger.warning("every update of epoch %d overflowed; the loss scale falls, to %g", self.record.epoch, scale)

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
            overwrite(parameter, ms.Tensor(value.astype(np.float32)))


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
