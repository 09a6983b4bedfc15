"""Which state on disk a run goes on from, and whether this recipe, data set and number of ranks can go on from it."""

import logging
from pathlib import Path
from typing import NamedTuple

from mindcv_hrnet.engine.run_folder import HISTORY
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.errors import CheckpointError, RunError
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.files import expand_home
from mindcv_hrnet.weights.manifest import MANIFEST, Manifest, State, damage

logger = logging.getLogger(__name__)


class Images(NamedTuple):
    """How many images the splits have; 0 without validation."""

    training: int
    validation: int


class Resumed(NamedTuple):
    """A training state on disk: its folder, what the manifest says of it, and the names of the run's classes."""

    folder: Path
    entry: State
    class_names: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / self.entry.file


def find_state(path: str) -> Resumed:
    """The newest undamaged state of the run that `path` (its folder, or a file of its newest epoch) belongs to."""
    given = expand_home(path).resolve()
    folder = given if given.is_dir() else given.parent
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.states:
        raise CheckpointError(
            f"{path}: no {MANIFEST} with a training state there; pass the run folder of a started run"
        )
    newest, states = manifest.checkpoints[-1:], manifest.states
    if given.is_file():
        named = [state for state in states if state.file == given.name]
        if not named and not (newest and given.name == newest[0].file):
            raise CheckpointError(
                f"{path}: has no training state beside it; those of {folder} are {' and '.join(s.file for s in states)}"
                "; to start anew from these weights drop --resume_opt"
            )
        states = named or states
    for state in reversed(states):
        wrong = damage(folder, state)
        if not wrong:
            return Resumed(folder, state, tuple(manifest.class_names))
        logger.warning("%s: is damaged, %s; the state before it is taken", folder / state.file, wrong)
    raise CheckpointError(
        f"{folder}: every training state is damaged; start anew from the weights of the newest epoch, --ckpt_path "
        f"{folder}, in another --ckpt_save_dir"
    )


def find_run(config: Config) -> Resumed | None:
    """Where a recipe with `resume_opt` goes on: the run in its `ckpt_save_dir`, else the one that `ckpt_path` is of.

    `ckpt_path` may name a file of the run. Otherwise, beside a run in `ckpt_save_dir`, it is what that run has started
    from. None where the run has begun and saved nothing yet. Raises CheckpointError where there is none.
    """
    own, given = run_folder(config), config.model.ckpt_path
    if given and expand_home(given).resolve().parent == own:
        return find_state(given)
    manifest = Manifest.read(own)
    if manifest and manifest.states:
        return find_state(str(own))
    if (own / HISTORY).is_file():
        logger.info("%s: nothing was saved yet, the run begins anew", own)
        return None
    if not given:
        raise CheckpointError(f"{own}: has no run to resume; check --ckpt_save_dir, or drop --resume_opt to start one")
    return find_state(given)


def check_sizes(resumed: Resumed, shape: RunShape, images: Images, cluster: Cluster) -> None:
    """Raise RunError where steps would not be those of the run that goes on; say what else is not as it was."""
    entry, same = resumed.entry, "resume with the same data set and the same global batch size (batch_size x ranks)"
    then = f"{resumed.path}: was saved with a global batch of {entry.global_batch_size}"
    if (entry.global_batch_size, entry.steps_per_epoch) != (shape.global_batch_size, shape.steps_per_epoch):
        raise RunError(
            f"{then} and {entry.steps_per_epoch} steps an epoch, here they are {shape.global_batch_size} and "
            f"{shape.steps_per_epoch}; {same}"
        )
    if entry.training_images != images.training:
        raise RunError(f"{then} of {entry.training_images} training images, here there are {images.training}; {same}")
    if entry.validation_images and images.validation and entry.validation_images != images.validation:
        logger.warning(
            "the validation split has %d images, it had %d; scores cannot be compared with the earlier ones",
            images.validation,
            entry.validation_images,
        )
    if entry.ranks != cluster.size and cluster.is_main:
        logger.warning(
            "ranks: %d now, %d before: the same images make a step, rounding differs, and so do "
            "batch-norm statistics without sync_bn and what mixup and cutmix draw",
            cluster.size,
            entry.ranks,
        )
    if shape.first_step >= shape.steps:
        logger.info("%s: all %d epochs are done; raise --epoch_size to go on", resumed.folder, shape.first_epoch)
