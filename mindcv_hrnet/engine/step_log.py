"""What a run says of itself between its epochs: a bar on a terminal, a line now and then, rows for those who keep them.

MindSpore is given all steps of a process as one pass, so that it may begin anywhere; epochs are counted here.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import mindspore as ms
import numpy as np
from mindspore.train import Callback

from mindcv_hrnet.engine.rows import EpochRow, StepRow
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.progress import BarText, clock, event, progress_bar, short_clock

logger = logging.getLogger(__name__)


class DataWait(Callback):
    """Seconds that the steps have waited for batches. It is the last of the callbacks.

    Where the device fetches its batches itself, Python does not see the steps: `of_queue` tells for how long the queue
    has waited, which the device may have spent on batches before.
    """

    def __init__(self, of_queue: Callable[[], float] | None = None):
        super().__init__()
        self.of_queue = of_queue
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._waited if self.of_queue is None else self.of_queue()

    def on_train_begin(self, run_context: Any) -> None:
        """The first batch is waited for."""
        self._since = time.perf_counter()

    def on_train_step_begin(self, run_context: Any) -> None:
        """A batch is there."""
        self._waited += time.perf_counter() - self._since

    def on_train_step_end(self, run_context: Any) -> None:
        """From now on a batch is waited for."""
        self._since = time.perf_counter()


class Gauges:
    """What is read from the device; each reading waits for its steps."""

    def __init__(self, step: TrainStep, cluster: Cluster):
        self.step, self.cluster = step, cluster

    @property
    def accuracy_sum(self) -> float:
        """Of the steps of the epoch so far, the share of right answers of each added up."""
        return self.step.totals.accuracy_sum.asnumpy().item()

    @property
    def loss_scale(self) -> float:
        """What the next step uses."""
        return self.step.scale.value.asnumpy().item()

    @property
    def gradient_norm(self) -> float | None:
        """Before clipping, of the last update; None where nothing is clipped."""
        return None if self.step.clip is None else self.step.totals.gradient_norm.asnumpy().item()

    @property
    def memory_gib(self) -> float | None:
        """The most that tensors have held on the device so far; None on a CPU."""
        return None if self.cluster.device == "CPU" else ms.runtime.max_memory_allocated() / 2**30


class Pace:
    """Steps and waiting since it was started."""

    def __init__(self, step: int, waited: float):
        self.begun, self.step, self.waited = time.perf_counter(), step, waited

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.begun

    def wait_share(self, waited: float) -> float:
        """Per cent of the time that went by without a batch."""
        return min(100.0, 100 * (waited - self.waited) / max(self.seconds(), 1e-9))


class StepLog(Callback):
    """A bar for each epoch on a terminal, a row and its line every `interval` steps and at an epoch's end.

    A line tells of the time since the line before, the bar of the epoch so far. In sink mode MindSpore calls back once
    per piece of an epoch instead of once per step. Where more steps follow in the epoch, the clocks start after the
    first one, which pays for the compilation. `seconds_before`: what an earlier process has spent on the epoch that
    this one goes on with. `keep` is given each row.
    """

    def __init__(
        self,
        shape: RunShape,
        rates: np.ndarray,
        interval: int,
        cluster: Cluster,
        gauges: Gauges,
        data_wait: DataWait,
        *,
        seconds_before: float = 0.0,
        keep: Callable[[StepRow], None] = lambda row: None,
    ):
        super().__init__()
        self.shape, self.rates, self.interval, self.cluster = shape, rates, interval, cluster
        self.gauges, self.data_wait, self.keep = gauges, data_wait, keep
        self.step = shape.first_step
        self.seconds_before = seconds_before
        self.compiled = False

    def on_train_begin(self, run_context: Any) -> None:
        """Start the clock of the compilation."""
        self.begin_epoch()
        self.run = self.epoch
        self.bar.show([BarText("the first step compiles")])
        self.bar.refresh()

    def begin_epoch(self) -> None:
        """Put up a new bar and start the epoch's clocks."""
        done = self.step % self.shape.steps_per_epoch
        label = f"epoch {self.shape.epoch_of(self.step + 1)}/{self.shape.epochs}"
        self.bar = progress_bar(self.shape.steps_per_epoch, label, self.cluster, done)
        self._start_clocks()

    def _start_clocks(self) -> None:
        self.epoch = self.line = Pace(self.step, self.data_wait.seconds)

    def on_train_step_end(self, run_context: Any) -> None:
        """Move the bar; write a line where one is due."""
        before, self.step = self.step, step_of(run_context, self.shape)
        step, first = self.step, not self.compiled
        in_epoch, epoch_ends = self.shape.step_in_epoch(step), self.shape.ends_epoch(step)
        if first:
            steps = step - self.run.step
            what = "step" if steps == 1 else f"{steps} steps"
            logger.info("first %s, compilation included: %.1f s", what, self.run.seconds())
            self.compiled = True
            if not epoch_ends:
                self._start_clocks()
                self.run = self.epoch
        line_is_due = in_epoch % self.interval == 0 or epoch_ends
        # Reading the loss makes the device wait, so not at every step
        if not self.bar.disable and (line_is_due or first or self.cluster.device == "CPU"):
            self._show(loss_of(run_context))
        self.bar.update(step - before)
        if line_is_due:
            self._line(self._row(loss_of(run_context)))

    def _speed(self, pace: Pace) -> float | None:
        steps = self.step - pace.step
        return steps * self.shape.global_batch_size / pace.seconds() if steps else None

    def _left(self, steps: int, pace: Pace) -> float | None:
        done = self.step - pace.step
        return pace.seconds() / done * steps if done else None

    def _top1(self) -> float:
        return 100 * self.gauges.accuracy_sum / self.shape.step_in_epoch(self.step)

    def _show(self, loss: float) -> None:
        """What stands behind the bar."""
        fields, speed = (
            [BarText(f"loss {loss:.4f}"), BarText(f"top-1 {self._top1():.1f} %", 3)],
            self._speed(self.epoch),
        )
        if speed is not None:
            here = self._left(self.shape.steps_per_epoch - self.shape.step_in_epoch(self.step), self.epoch) or 0.0
            run = self._left(self.shape.steps - self.step, self.run) or 0.0
            fields += [
                BarText(f"{speed:.0f} img/s", 2),
                BarText(f"data {self.epoch.wait_share(self.data_wait.seconds):.0f} %", 1),
                BarText(f"left {short_clock(here)}/{short_clock(run)}"),
            ]
        memory = self.gauges.memory_gib
        if memory is not None:
            fields.append(BarText(f"{memory:.1f} GiB", 4))
        self.bar.show(fields)

    def _row(self, loss: float) -> StepRow:
        speed = self._speed(self.line)
        return StepRow(
            epoch=self.shape.epoch_of(self.step),
            step=self.step,
            loss=loss,
            top1=self._top1(),
            learning_rate=self.rate,
            loss_scale=self.gauges.loss_scale,
            gradient_norm=self.gauges.gradient_norm,
            images_per_second=speed,
            data_wait=None if speed is None else self.line.wait_share(self.data_wait.seconds),
            device_memory_gib=self.gauges.memory_gib,
        )

    def _line(self, row: StepRow) -> None:
        shape, pace = self.shape, ""
        place = f"epoch {row.epoch}/{shape.epochs}  step {shape.step_in_epoch(row.step)}/{shape.steps_per_epoch}"
        left = self._left(shape.steps - row.step, self.run)
        if row.images_per_second is not None and left is not None:
            pace = f"  {row.images_per_second:.0f} images/s  data wait {row.data_wait:.0f} %  left {clock(left)}"
        if row.device_memory_gib is not None:
            pace += f"  {row.device_memory_gib:.1f} GiB"
        text = f"{place}  loss {row.loss:.4f}  lr {row.learning_rate:.3g}  top-1 {row.top1:.2f} %{pace}"
        logger.info("%s", text, extra=event("step", **asdict(row), seconds_left=left))
        self.keep(row)
        self.line = Pace(self.step, self.data_wait.seconds)

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.rates[self.step - 1])

    def close_epoch(self) -> EpochRow:
        """Take down the bar; the row of the epoch that has just ended, as far as the clocks know it."""
        self.bar.close()
        row = EpochRow(
            epoch=self.shape.epoch_of(self.step),
            step=self.step,
            learning_rate=self.rate,
            seconds=self.seconds,
            images_per_second=self._speed(self.epoch) or 0.0,
            data_wait=self.epoch.wait_share(self.data_wait.seconds),
        )
        self.seconds_before = 0.0
        return row

    @property
    def seconds(self) -> float:
        """What the epoch has taken so far, without the step that compiled."""
        return self.seconds_before + self.epoch.seconds()

    def close(self) -> None:
        """Take down the bar of an epoch that has not ended."""
        if hasattr(self, "bar"):  # training has begun
            self.bar.close()


def step_of(run_context: Any, shape: RunShape) -> int:
    """Steps of the run that are done. MindSpore counts those of this process, also after a resume."""
    return int(run_context.original_args().cur_step_num) + shape.first_step


def loss_of(run_context: Any) -> float:
    """The loss of the last step; the device is waited for."""
    return float(run_context.original_args().net_outputs.asnumpy())
