"""Which weights a recipe means: a file or run folder of the user's, or the published ones."""

import logging
from pathlib import Path

from mindcv_hrnet.engine.run_folder import MANIFEST, Manifest
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.models.variants import published_at
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.weights.pretrained import fetch

logger = logging.getLogger(__name__)


def weights_of(model: ModelConfig) -> str:
    """Path of the weights that the recipe names, downloaded where they are published ones; "" where it names none.

    Of a run folder these are the best validated weights, or the newest ones where no epoch was validated.
    """
    if model.ckpt_path:
        if model.pretrained:
            logger.info("pretrained: not used, ckpt_path %s wins", model.ckpt_path)
        return weights_of_run(model.ckpt_path) if Path(model.ckpt_path).is_dir() else model.ckpt_path
    return str(fetch(model.pretrained_url or published_at(model.model))) if model.pretrained else ""


def weights_of_run(folder: str) -> str:
    """Path of the best weights in a run folder, of the newest where none were validated; the log says which."""
    manifest = Manifest.read(Path(folder))
    if manifest is None or not manifest.checkpoints:
        raise CheckpointError(f"{folder}: has no {MANIFEST} that names weights; pass a checkpoint file or a run folder")
    chosen = manifest.best or manifest.checkpoints[-1]
    score = "not validated" if chosen.top1 is None else f"top-1 {chosen.top1:.2f} %"
    logger.info("ckpt_path %s: its %s, epoch %d, %s", folder, chosen.file, chosen.epoch, score)
    return str(Path(folder) / chosen.file)
