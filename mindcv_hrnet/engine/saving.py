"""When and what a run saves: a copy is taken between two steps, a thread writes it."""

import logging
import math
import time

from mindcv_hrnet.engine.epoch_end import MetricsFile
from mindcv_hrnet.engine.resume import Images
from mindcv_hrnet.engine.rows import EpochRow
from mindcv_hrnet.engine.run_folder import METRICS, RunFolder, Save
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.state import copy_state
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.engine.writer import Writer
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.weights.manifest import State

logger = logging.getLogger(__name__)


class Saving:
    """The saves of a run. All ranks call its methods at the same steps; the first one writes.

    `stalled_s`: how long the steps have waited for copies and for writes before them.
    """

    def __init__(
        self,
        step_cell: TrainStep,
        shape: RunShape,
        cluster: Cluster,
        images: Images,
        folder: RunFolder | None,
    ):
        self.step_cell, self.shape, self.cluster, self.images = step_cell, shape, cluster, images
        self.folder = folder
        self.metrics = MetricsFile(folder.folder / METRICS, shape.first_epoch) if folder else None
        self.writer = Writer()
        self.saved_step = shape.first_step
        self.saved_at = time.monotonic()
        self.saves = 0
        self.stalled_s = 0.0

    def end_epoch(self, row: EpochRow, *, saves: bool, validation_due: bool) -> None:
        """An epoch has ended: its row, and where it `saves` weights and state."""
        if self.metrics:
            self.metrics.put(row)
        if saves:
            path = f"{self.folder.folder}/{self.folder.manifest.model}-{row.epoch}.ckpt" if self.folder else ""
            done = f"epoch {row.epoch}/{self.shape.epochs}  saved {path}"
            self._save(row.step, row.seconds, weights=True, validation_due=validation_due, done=done)
        elif self.folder and self.metrics:
            folder, text = self.folder, self.metrics.text()
            self.writer.hand_over(lambda: folder.write_score(row.epoch, None, text))

    def row_of(self, epoch: int, step: int) -> EpochRow:
        """The row of an epoch that an earlier process has ended."""
        place = EpochRow(epoch=epoch, step=step, learning_rate=math.nan)
        return self.metrics.row(epoch) or place if self.metrics else place

    def score(self, row: EpochRow) -> None:
        """The epoch of `row` has been validated."""
        if self.folder and self.metrics:
            self.metrics.put(row)
            folder, text = self.folder, self.metrics.text()
            self.writer.hand_over(lambda: folder.write_score(row.epoch, row.top1, text))

    def save_within(self, step: int, seconds: float, *, validation_due: bool = False) -> None:
        """The state between two steps; nothing where it is saved already."""
        if step != self.saved_step:
            shape = self.shape
            place = f"epoch {shape.epoch_of(step)}/{shape.epochs}  step {shape.step_in_epoch(step)}"
            done = f"{place}/{shape.steps_per_epoch}  saved the training state"
            self._save(step, seconds, weights=False, validation_due=validation_due, done=done)

    def _save(self, step: int, seconds: float, *, weights: bool, validation_due: bool, done: str) -> None:
        begun = time.perf_counter()
        shape, ends = self.shape, self.shape.ends_epoch(step)
        accumulation = self.step_cell.accumulation
        complete = accumulation is None or step % accumulation.steps == 0
        arrays = copy_state(self.step_cell, self.cluster, epoch_ends=ends, update_complete=complete)
        self.saved_step, self.saved_at = step, time.monotonic()
        if self.folder and self.metrics:
            epoch = shape.epoch_of(step)
            name = f"{self.folder.manifest.model}-state-{epoch}"
            entry = State(
                file=f"{name}.ckpt" if ends else f"{name}-{shape.step_in_epoch(step)}.ckpt",
                epoch=epoch,
                step=step,
                seconds=seconds,
                validation_due=validation_due,
                ranks=self.cluster.size,
                global_batch_size=shape.global_batch_size,
                steps_per_epoch=shape.steps_per_epoch,
                training_images=self.images.training,
                validation_images=self.images.validation,
                size=0,
                sha256="",
            )
            named = {name: parameter.name for name, parameter in self.step_cell.weights().items()} if weights else None
            self._write(Save(entry, arrays, self.metrics.text(), named), self.folder, done)
        self.saves += 1
        self.stalled_s += time.perf_counter() - begun

    def _write(self, save: Save, folder: RunFolder, done: str) -> None:
        def write() -> None:
            folder.write(save)
            logger.info("%s", done)

        self.writer.hand_over(write)

    def look_after(self) -> None:
        """Try again what the disk has refused, when it is time; call it after every step."""
        self.writer.look_after()

    def close(self) -> None:
        """Wait until everything is written. Raises RunError where the disk refuses it."""
        self.writer.finish()

    def log_costs(self) -> None:
        """Say how long the steps have waited for all saves together."""
        logger.info("%d saves, for which the steps waited %.2f s", self.saves, self.stalled_s)
