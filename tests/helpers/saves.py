"""Saves of a training step, as a run makes them."""

from mindcv_hrnet.engine.run_folder import RunFolder, Save
from mindcv_hrnet.engine.state import copy_state
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.weights.manifest import State

CLASSES = ["ant", "bée", "cat"]


def state_entry(epoch: int, step: int, ranks: int = 1) -> State:
    """An entry for a state whose file is not written yet; 10 steps an epoch."""
    return State(
        file=f"tiny-state-{epoch}.ckpt",
        epoch=epoch,
        step=step,
        seconds=1.5,
        validation_due=False,
        ranks=ranks,
        global_batch_size=8,
        steps_per_epoch=10,
        training_images=80,
        validation_images=20,
        size=0,
        sha256="",
    )


def save_epoch(
    folder: RunFolder, step_cell: TrainStep, epoch: int, score: float | None = None, step: int | None = None
) -> None:
    """Weights, state and score after an epoch, or after `step` steps."""
    arrays = copy_state(step_cell, Cluster(), epoch_ends=True, update_complete=False)
    names = {name: parameter.name for name, parameter in step_cell.weights().items()}
    folder.write(Save(state_entry(epoch, step or 10 * epoch), arrays, "rows\n", names))
    folder.write_score(epoch, score, "rows\n")
