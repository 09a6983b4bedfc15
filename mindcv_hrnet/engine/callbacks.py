"""What MindSpore calls after a step of training: the log, the guard, and at an epoch's end one visible sequence.

MindSpore is given all steps of a process as one pass, so that it may begin anywhere; epochs are counted here.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from mindspore.train import Callback

from mindcv_hrnet.engine.epoch_end import EpochLoss, EpochRow
from mindcv_hrnet.engine.evaluate import Evaluation
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.saving import Saving
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.progress import clock, progress_bar
from mindcv_hrnet.runtime.signals import Stopped
from mindcv_hrnet.weights.manifest import State

logger = logging.getLogger(__name__)


class StepLog(Callback):
    """Loss, rate, images/s and time left: a line every `interval` steps and at an epoch's end, a bar on a terminal.

    In sink mode MindSpore calls back once per piece of an epoch instead of once per step. Where more steps follow in
    the epoch, the clocks start after the first one, which pays for the compilation. `seconds_before`: what an earlier
    process has spent on the epoch that this one goes on with.
    """

    def __init__(
        self, shape: RunShape, rates: np.ndarray, interval: int, cluster: Cluster, seconds_before: float = 0.0
    ):
        super().__init__()
        self.shape, self.rates, self.interval, self.cluster = shape, rates, interval, cluster
        self.step = self.first_timed = shape.first_step
        self.seconds_before = seconds_before
        self.compiled = False

    def on_train_begin(self, run_context: Any) -> None:
        """Start the clock of the compilation."""
        self.begun = time.perf_counter()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Put up a new bar and start the epoch's clocks."""
        done = self.step % self.shape.steps_per_epoch
        self.bar = progress_bar(self.shape.steps_per_epoch, "train", self.cluster, done)
        self._start_clocks()

    def _start_clocks(self) -> None:
        self.epoch_start = self.last_line = time.perf_counter()
        self.step_at_epoch_start = self.step_at_last_line = self.step

    def on_train_step_end(self, run_context: Any) -> None:
        """Move the bar; write a line where one is due."""
        step = step_of(run_context, self.shape)
        self.bar.update(step - self.step)
        self.step = step
        in_epoch, epoch_ends = self.shape.step_in_epoch(step), self.shape.ends_epoch(step)
        if not self.compiled:
            seconds = time.perf_counter() - self.begun
            steps = step - self.first_timed
            what = "step" if steps == 1 else f"{steps} steps"
            logger.info("first %s, compilation included: %.1f s", what, seconds)
            self.compiled = True
            if not epoch_ends:
                self.begun, self.first_timed = time.perf_counter(), step
                self._start_clocks()
        if in_epoch % self.interval == 0 or epoch_ends:
            self._line(loss_of(run_context))

    def _line(self, loss: float) -> None:
        now, pace, shape = time.perf_counter(), "", self.shape
        if self.step > self.step_at_last_line:
            speed = (self.step - self.step_at_last_line) * shape.global_batch_size / (now - self.last_line)
            per_step = (now - self.begun) / (self.step - self.first_timed)
            pace = f"  {speed:.0f} images/s  left {clock(per_step * (shape.steps - self.step))}"
        place = f"epoch {shape.epoch_of(self.step)}/{shape.epochs}  step {shape.step_in_epoch(self.step)}"
        with self.bar.external_write_mode():
            logger.info("%s/%d  loss %.4f  lr %.3g%s", place, shape.steps_per_epoch, loss, self.rate, pace)
        self.last_line, self.step_at_last_line = now, self.step

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.rates[self.step - 1])

    def close_epoch(self) -> EpochRow:
        """Take down the bar; the row of the epoch that has just ended, as far as the clocks know it."""
        self.bar.close()
        seconds = time.perf_counter() - self.epoch_start
        images = (self.step - self.step_at_epoch_start) * self.shape.global_batch_size
        row = EpochRow(
            epoch=self.shape.epoch_of(self.step),
            step=self.step,
            learning_rate=self.rate,
            seconds=self.seconds_before + seconds,
            images_per_second=images / seconds,
        )
        self.seconds_before = 0.0
        return row

    @property
    def seconds(self) -> float:
        """What the epoch has taken so far, without the step that compiled."""
        return self.seconds_before + time.perf_counter() - self.epoch_start


class LossGuard(Callback):
    """Ends the run at a loss that is not finite, as soon as it is read; after more than `patience` of them in a row.

    Where updates that overflow are skipped and there is no patience, the epoch's end judges instead.
    """

    def __init__(self, step: TrainStep, shape: RunShape, cluster: Cluster, interval: int, patience: int = 0):
        super().__init__()
        self.step, self.shape, self.cluster, self.interval, self.patience = step, shape, cluster, interval, patience
        self.in_a_row = 0

    def on_train_step_end(self, run_context: Any) -> None:
        """Raise RunError where the loss is read and not finite."""
        step = step_of(run_context, self.shape)
        # Reading the loss makes the device wait, so not at every step
        if step % self.interval and self.cluster.device != "CPU":
            return
        if self.step.check is not None and not self.patience:
            return
        loss = loss_of(run_context)
        if math.isfinite(loss):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row > self.patience:
            check_loss(loss, step)
        logger.warning("loss is %s at step %d, %d in a row; its update is skipped", loss, step, self.in_a_row)


class EpochEnd(Callback):
    """What follows the last step of an epoch, in this order: measure, agree, save, validate, write the score."""

    def __init__(
        self,
        shape: RunShape,
        step_log: StepLog,
        loss: EpochLoss,
        agree: Callable[[int], None],
        saving: Saving,
        *,
        evaluate: Callable[[], Evaluation] | None = None,
        val_interval: int = 1,
        save_interval: int = 1,
    ):
        super().__init__()
        self.shape, self.step_log, self.loss, self.agree = shape, step_log, loss, agree
        self.saving, self.save_interval = saving, save_interval
        self.evaluate, self.val_interval = evaluate, val_interval

    def on_train_step_end(self, run_context: Any) -> None:
        """The sequence above, where an epoch has just ended."""
        if not self.shape.ends_epoch(step_of(run_context, self.shape)):
            return
        row = self.step_log.close_epoch()
        totals = self.loss.take(row.epoch)
        row = replace(row, train_loss=totals.loss, skipped_updates=totals.skipped)
        check_loss(row.train_loss, row.step, overflowed=totals.updates == 0)
        self.agree(row.epoch)
        validates = self.evaluate is not None and self._is_due(row.epoch, self.val_interval)
        self.saving.end_epoch(row, saves=self._is_due(row.epoch, self.save_interval), validation_due=validates)
        if validates:
            self.validate(row)
        if row.step < self.shape.steps:
            self.step_log.begin_epoch()

    def validate(self, row: EpochRow) -> None:
        """Measure the epoch of `row`, and write down what came out."""
        assert self.evaluate is not None
        try:
            result = self.evaluate()
        except Stopped:
            self.saving.save_within(row.step, row.seconds, validation_due=True)
            raise
        logger.info("epoch %d/%d  %s", row.epoch, self.shape.epochs, result)
        self.saving.score(replace(row, top1=result.top1, top5=result.top5, val_loss=result.loss))

    def validate_late(self, state: State) -> None:
        """What an earlier process did not come to, of the epoch that ended with `state`."""
        if self.evaluate:
            self.validate(self.saving.row_of(state.epoch, state.step))

    def _is_due(self, epoch: int, interval: int) -> bool:
        return epoch % interval == 0 or epoch == self.shape.epochs


def step_of(run_context: Any, shape: RunShape) -> int:
    """Steps of the run that are done. MindSpore counts those of this process, also after a resume."""
    return int(run_context.original_args().cur_step_num) + shape.first_step


def loss_of(run_context: Any) -> float:
    """The loss of the last step; the device is waited for."""
    return float(run_context.original_args().net_outputs.asnumpy())


def check_loss(loss: float, step: int, *, overflowed: bool = False) -> None:
    """Raise RunError for a loss that is not finite. Where every update `overflowed` there is none to judge."""
    if not overflowed and not math.isfinite(loss):
        raise RunError(
            f"loss is {loss} at step {step}; lower lr, raise warmup_epochs, or in half precision pass "
            "--loss_scale_type dynamic"
        )
