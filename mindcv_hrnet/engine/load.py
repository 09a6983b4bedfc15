"""Which weights a recipe means, a file or run folder of the user's or the published ones, and a network with them."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mindspore import nn

from mindcv_hrnet.engine.classes import names_of_weights
from mindcv_hrnet.models import HALF, create_model, set_precision
from mindcv_hrnet.models.factory import unused_by
from mindcv_hrnet.models.variants import check_variant, published_at
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.weights import Weights, adapt_weights, count_classes, fit_weights, read_weights
from mindcv_hrnet.weights.fit import classifier_by_name
from mindcv_hrnet.weights.manifest import file_of_weights
from mindcv_hrnet.weights.pretrained import fetch

logger = logging.getLogger(__name__)


def weights_of(model: ModelConfig) -> str:
    """Path of the weights that the recipe names, downloaded where they are published ones; "" where it names none.

    Raises CheckpointError where there are none, or the manifest beside them says that they were other bytes once.
    """
    if model.ckpt_path:
        if model.pretrained:
            logger.info("pretrained: not used, ckpt_path %s wins", model.ckpt_path)
        return file_of_weights(model.ckpt_path)
    return str(fetch(model.pretrained_url or published_at(model.model))) if model.pretrained else ""


def _read(path: str, model: str) -> Weights:
    """The weights in a file, which are to be a recipe's `model`'s. Raises CheckpointError."""
    weights = read_weights(path)
    weights.log_remarks(path)
    check_variant(model, weights.arrays, path, "--model {}")
    return weights


class Loaded(NamedTuple):
    """A network with the weights that a recipe names, where they came from, they themselves by name, their classes."""

    network: nn.Cell
    path: str
    arrays: dict[str, np.ndarray]
    class_names: tuple[str, ...]
    """Empty where nobody knows them, or the recipe says `class_names_override`."""


def load_network(config: Config, features: str | None = None) -> Loaded:
    """The recipe's network, to be validated or exported, at `val_amp_level`. Raises CheckpointError.

    With `features` ("raw" or "incre") its backbone alone, as `create_model` has it.
    """
    path = weights_of(config.model)
    weights = _read(path, config.model.model)
    arrays = weights.arrays
    name, channels = config.model.model, config.model.in_channels
    if features:
        network = create_model(name, in_channels=channels, features_only=True, features=features)
        own, spare = network.parameters_dict(), unused_by(network)
        arrays = {name: values for name, values in arrays.items() if name in own or not name.startswith(spare)}
    else:
        num_classes = config.model.num_classes or count_classes(arrays, path)
        network = create_model(name, num_classes=num_classes, in_channels=channels)
    fit_weights(network, arrays, path)
    set_precision(network, config.model.val_amp_level, HALF[config.model.amp_dtype])
    names = () if config.model.class_names_override else names_of_weights(path, weights)
    return Loaded(network, path, arrays, names)


def start_from_weights(network: nn.Cell, config: Config, class_names: Sequence[str] = ()) -> None:
    """Put the weights that a recipe names into a network to be trained; the classifier's rows go by class name.

    A class of the data set that the weights do not know starts fresh. `class_names_override`, and weights without
    names, leave the rows as they are.
    """
    path = weights_of(config.model)
    if not path:
        return
    weights = _read(path, config.model.model)
    arrays = weights.arrays
    theirs = () if config.model.class_names_override else names_of_weights(path, weights)
    if theirs and class_names and theirs != tuple(class_names):
        arrays = classifier_by_name(network, arrays, theirs, class_names, path)
    adapt_weights(network, arrays, path, level=logging.INFO)  # of several ranks the first one says it
