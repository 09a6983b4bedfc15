"""What a tracker is told, and how several are told at once without harm to the run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mindcv_hrnet.engine.rows import EpochRow, StepRow

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """What a run is: a name, its recipe by key, and the steps that an earlier process has done.

    `told`: the last step that it told of; it may have been killed after its last save.
    """

    name: str
    recipe: Mapping[str, Any]
    first_step: int
    told: int = 0


class Tracker:
    """Is told the numbers of a run as they come. What it has no use for it passes over."""

    def step(self, row: StepRow) -> None:
        """A row of steps.csv."""

    def epoch(self, row: EpochRow) -> None:
        """A row of metrics.csv, after the validation where there was one."""

    def images(self, sheet: np.ndarray) -> None:
        """(H, W, 3) uint8: some of the first images of a run that begins."""

    def close(self) -> None:
        """Nothing more comes of this process."""


class Trackers:
    """Tells each of several. One that fails is told nothing more: its numbers are missing, the run goes on."""

    def __init__(self, trackers: Sequence[Tracker] = ()):
        self.trackers = list(trackers)

    def step(self, row: StepRow) -> None:
        """A row of steps.csv."""
        self._tell(lambda tracker: tracker.step(row))

    def epoch(self, row: EpochRow) -> None:
        """A row of metrics.csv."""
        self._tell(lambda tracker: tracker.epoch(row))

    def images(self, sheet: np.ndarray) -> None:
        """Some of the first images."""
        self._tell(lambda tracker: tracker.images(sheet))

    def close(self) -> None:
        """The process ends."""
        self._tell(lambda tracker: tracker.close())

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                what(tracker)
            except Exception as error:
                self.trackers.remove(tracker)
                logger.warning("%s: is told nothing more (%s); the run goes on", type(tracker).__name__, error)


STEP_SCALARS = {
    **{name: f"train/{name}" for name in ("loss", "top1", "learning_rate", "loss_scale", "gradient_norm")},
    **{name: f"speed/{name}" for name in ("images_per_second", "data_wait", "device_memory_gib")},
}
EPOCH_SCALARS = {
    **{name: f"epoch/{name}" for name in ("train_loss", "train_top1", "skipped_updates", "seconds")},
    **{"top1": "val/top1", "top5": "val/top5", "val_loss": "val/loss"},
}


def scalars(row: StepRow | EpochRow) -> dict[str, float]:
    """The values of a row by the name of their curve; the step is the row's."""
    names = STEP_SCALARS if isinstance(row, StepRow) else EPOCH_SCALARS
    values = {curve: getattr(row, name) for name, curve in names.items()}
    return {curve: float(value) for curve, value in values.items() if value is not None}
