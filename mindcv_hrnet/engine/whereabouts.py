"""Tells the other ranks where this one is, at every step and batch."""

from typing import Any

from mindspore.train import Callback

from mindcv_hrnet.engine.callbacks import step_of
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.runtime.heartbeat import Heartbeat
from mindcv_hrnet.runtime.watch import Place


class Whereabouts(Callback):
    """The first of the callbacks, so that what the others do belongs to the time after the step.

    While it compiles, a rank may be silent for longer.
    """

    def __init__(self, shape: RunShape, heartbeat: Heartbeat, *, validates: bool):
        super().__init__()
        self.shape, self.heartbeat = shape, heartbeat
        self.step = shape.first_step
        # for the first time, and so compiles
        self.trains, self.validates = True, validates
        heartbeat.tell(Place(self.step, patient=True))

    def on_train_step_begin(self, run_context: Any) -> None:
        """The images are there."""
        self.heartbeat.tell(Place(self.step, inside=True, patient=self.trains))

    def on_train_step_end(self, run_context: Any) -> None:
        """A step is done, or in sink mode a piece of an epoch."""
        self.trains, self.step = False, step_of(run_context, self.shape)
        self.heartbeat.tell(Place(self.step, patient=self.validates and self.shape.ends_epoch(self.step)))

    def between_batches(self) -> None:
        """A batch of a validation is done."""
        self.validates = False
        self.heartbeat.next_batch()
