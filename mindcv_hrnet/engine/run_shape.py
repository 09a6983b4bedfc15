"""The sizes of a run, and whether the recipe fits them."""

import math
from dataclasses import dataclass

from mindcv_hrnet.errors import RunError

MOST_STEPS = 100_000_000  # ImageNet for 80,000 epochs on eight devices


@dataclass(frozen=True)
class RunShape:
    """Epochs, steps and images of a run. Steps count from 1 over the whole run, also after a resume."""

    epochs: int
    steps_per_epoch: int
    global_batch_size: int
    first_step: int = 0
    """Steps that an earlier process has done."""

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def first_epoch(self) -> int:
        """Epochs that an earlier process has finished."""
        return self.first_step // self.steps_per_epoch

    def epoch_of(self, step: int) -> int:
        """The epoch, from 1, that a step belongs to."""
        return (step - 1) // self.steps_per_epoch + 1

    def step_in_epoch(self, step: int) -> int:
        """The place of a step in its epoch, from 1."""
        return (step - 1) % self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        """Whether a step is the last one of its epoch."""
        return step % self.steps_per_epoch == 0

    def piece(self, wanted: int) -> int:
        """Steps that sink mode runs in a row: `wanted` at most, and such that no epoch has a rest."""
        common = math.gcd(self.steps_per_epoch, self.first_step)
        return max(size for size in range(1, min(wanted, common) + 1) if common % size == 0)

    def check_length(self) -> None:
        """Raise RunError where the table of learning rates would not fit into memory."""
        if self.steps > MOST_STEPS:
            raise RunError(
                f"epoch_size {self.epochs} x {self.steps_per_epoch} steps are more than {MOST_STEPS}; lower epoch_size"
            )

    def check_accumulation(self, accumulation: int) -> None:
        """Raise RunError where an update would need more steps than an epoch has."""
        if accumulation > self.steps_per_epoch:
            raise RunError(
                f"gradient_accumulation_steps {accumulation} is more than the {self.steps_per_epoch} steps of an "
                "epoch; lower it"
            )
