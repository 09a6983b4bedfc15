"""Which weights a recipe means: a file of the user's, or the published ones."""

import logging

from mindcv_hrnet.models.specs import published_at
from mindcv_hrnet.sections import ModelConfig
from mindcv_hrnet.weights.pretrained import fetch

logger = logging.getLogger(__name__)


def weights_of(model: ModelConfig) -> str:
    """Path of the weights that the recipe names, downloaded where they are published ones; "" where it names none."""
    if model.ckpt_path:
        if model.pretrained:
            logger.info("pretrained: not used, ckpt_path %s wins", model.ckpt_path)
        return model.ckpt_path
    return str(fetch(model.pretrained_url or published_at(model.model))) if model.pretrained else ""
