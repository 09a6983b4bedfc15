"""What MindSpore calls after a step of training: the guard, and at an epoch's end one visible sequence."""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from mindspore.train import Callback

from mindcv_hrnet.engine.epoch_end import EpochMeasure
from mindcv_hrnet.engine.evaluate import Evaluation
from mindcv_hrnet.engine.rows import EpochRow
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.saving import Saving
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.engine.step_log import StepLog, loss_of, step_of
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.progress import event
from mindcv_hrnet.runtime.signals import Stopped
from mindcv_hrnet.weights.manifest import State

logger = logging.getLogger(__name__)

WAITS_LONG = 10  # per cent of the time without a batch


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
    """What follows the last step of an epoch, in this order: measure, agree, save, validate, write the score.

    `advice`: what helps where the device has waited long for data. `keep` is given each epoch's whole row, before the
    disk is: what is lost with the disk's is told again.
    """

    def __init__(
        self,
        shape: RunShape,
        step_log: StepLog,
        measure: EpochMeasure,
        agree: Callable[[int], None],
        saving: Saving,
        *,
        evaluate: Callable[[], Evaluation] | None = None,
        val_interval: int = 1,
        save_interval: int = 1,
        advice: str = "",
        keep: Callable[[EpochRow], None] = lambda row: None,
    ):
        super().__init__()
        self.shape, self.step_log, self.measure, self.agree = shape, step_log, measure, agree
        self.advice, self.keep = advice, keep
        self.saving, self.save_interval = saving, save_interval
        self.evaluate, self.val_interval = evaluate, val_interval

    def on_train_step_end(self, run_context: Any) -> None:
        """The sequence above, where an epoch has just ended."""
        if not self.shape.ends_epoch(step_of(run_context, self.shape)):
            return
        row = self.step_log.close_epoch()
        totals = self.measure.take(row.epoch)
        row = replace(row, train_loss=totals.loss, train_top1=totals.top1, skipped_updates=totals.skipped)
        check_loss(row.train_loss, row.step, overflowed=totals.updates == 0)
        self._tell(row)
        self.agree(row.epoch)
        validates = self.evaluate is not None and self._is_due(row.epoch, self.val_interval)
        if not validates:
            self.keep(row)
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
        told = event("validation", epoch=row.epoch, step=row.step, **result.numbers)
        logger.info("epoch %d/%d  %s", row.epoch, self.shape.epochs, result, extra=told)
        row = replace(row, top1=result.top1, top5=result.top5, val_loss=result.loss)
        self.keep(row)
        self.saving.score(row)

    def _tell(self, row: EpochRow) -> None:
        """The line of an epoch, with what the device has waited for."""
        share = row.data_wait or 0.0
        waited = share / 100 * row.seconds
        text = (
            f"epoch {row.epoch}/{self.shape.epochs}  train loss {row.train_loss:.4f}  "
            f"train top-1 {row.train_top1:.2f} %  {row.images_per_second:.0f} images/s  "
            f"waited {waited:.1f} s for data ({share:.0f} %)"
        )
        if share > WAITS_LONG and waited >= 1:
            text += f": the host is the bottleneck, {self.advice}"
        numbers = {name: value for name, value in asdict(row).items() if name not in ("top1", "top5", "val_loss")}
        logger.info("%s", text, extra=event("epoch", **numbers))

    def validate_late(self, state: State) -> None:
        """What an earlier process did not come to, of the epoch that ended with `state`."""
        if self.evaluate:
            self.validate(self.saving.row_of(state.epoch, state.step))

    def _is_due(self, epoch: int, interval: int) -> bool:
        return epoch % interval == 0 or epoch == self.shape.epochs


def check_loss(loss: float, step: int, *, overflowed: bool = False) -> None:
    """Raise RunError for a loss that is not finite. Where every update `overflowed` there is none to judge."""
    if not overflowed and not math.isfinite(loss):
        raise RunError(
            f"loss is {loss} at step {step}; lower lr, raise warmup_epochs, or in half precision pass "
            "--loss_scale_type dynamic"
        )
