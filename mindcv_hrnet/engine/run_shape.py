"""The sizes of a run, and whether the recipe fits them."""

from dataclasses import dataclass

from mindcv_hrnet.errors import RunError


@dataclass(frozen=True)
class RunShape:
    """Epochs, steps and images of a run. Steps count from 1 over the whole run, also after a resume."""

    epochs: int
    steps_per_epoch: int
    global_batch_size: int
    first_epoch: int = 0
    """Epochs that an earlier process has done."""

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def first_step(self) -> int:
        """Steps that an earlier process has done."""
        return self.first_epoch * self.steps_per_epoch

    def epoch_of(self, step: int) -> int:
        """The epoch, from 1, that a step belongs to."""
        return (step - 1) // self.steps_per_epoch + 1

    def step_in_epoch(self, step: int) -> int:
        """The place of a step in its epoch, from 1."""
        return (step - 1) % self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        """Whether a step is the last one of its epoch."""
        return step % self.steps_per_epoch == 0

    def check_accumulation(self, accumulation: int) -> None:
        """Raise RunError where an update would need more steps than an epoch has."""
        if accumulation > self.steps_per_epoch:
            raise RunError(
                f"gradient_accumulation_steps {accumulation} is more than the {self.steps_per_epoch} steps of an "
                "epoch; lower it"
            )
