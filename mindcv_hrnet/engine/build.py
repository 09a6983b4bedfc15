"""From a recipe to the network and the cell that trains it."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from mindspore import nn

from mindcv_hrnet.engine.load import start_from_weights
from mindcv_hrnet.engine.losses import build_loss
from mindcv_hrnet.engine.optimizers import NESTEROV, build_optimizer
from mindcv_hrnet.engine.preprocess import Preprocess
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.models import HALF, create_model, freeze, recompute, set_precision, synchronise
from mindcv_hrnet.models.amp_names import AMP_LAYERS, OTHER_LAYERS
from mindcv_hrnet.models.drop import drop_rates
from mindcv_hrnet.models.variants import find_spec
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.runtime.distributed import Cluster

logger = logging.getLogger(__name__)


def build_step(
    config: Config, schedule: np.ndarray, cluster: Cluster, class_names: Sequence[str] = ()
) -> tuple[nn.Cell, TrainStep]:
    """(network, the cell that trains it). `class_names`: the data set's, for weights that know theirs."""
    assert config.model.num_classes is not None
    network = create_model(
        config.model.model,
        num_classes=config.model.num_classes,
        in_channels=config.model.in_channels,
        drop_rate=config.model.drop_rate or 0.0,
        drop_path_rate=config.model.drop_path_rate or 0.0,
    )
    if not config.train.resume_opt:
        start_from_weights(network, config, class_names)
    if config.train.freeze:
        frozen = freeze(network, config.train.freeze)
        logger.info("frozen: %s, %.2f M parameters", " ".join(config.train.freeze), frozen / 1e6)
        if not network.trainable_params():
            raise ConfigError(f"freeze {' '.join(config.train.freeze)} leaves nothing to train")
    if config.train.sync_bn and cluster.size > 1:
        synchronise(network, cluster.size)
    if config.train.recompute:
        recompute(network)
    level, layers = config.model.amp_level, config.model.amp_cast_list
    kinds = None if layers is None else [layer.removeprefix("nn.") for layer in layers]
    set_precision(network, level, HALF[config.model.amp_dtype], kinds)
    _say_what_changes_nothing(config)
    preprocess = build_preprocess(config)
    optimizer = build_optimizer(network.trainable_params(), schedule, config.optimizer)
    loss = config.loss
    if loss.drop_overflow_update is None:
        loss = replace(loss, drop_overflow_update=level != "O0")
    step = TrainStep(network, preprocess, build_loss(loss), optimizer, cluster, config.train, loss)
    step.set_train(True)
    return network, step


def drop_rates_of(model: ModelConfig) -> tuple[float, ...]:
    """What the loader draws for the network of `build_step`."""
    spec = find_spec(model.model)
    return drop_rates(spec, drop_rate=model.drop_rate or 0.0, drop_path_rate=model.drop_path_rate or 0.0)


def build_preprocess(config: Config) -> Preprocess:
    """The device's part of the training transform; what the recipe leaves off is not in the graph."""
    a = config.augmentation
    assert config.model.num_classes is not None
    return Preprocess(
        mean=a.mean,
        std=a.std,
        size=a.image_resize,
        num_classes=config.model.num_classes,
        label_smoothing=config.loss.label_smoothing,
        erase=a.re_prob > 0,
        mix=a.cutmix_prob > 0 and max(a.mixup, a.cutmix) > 0,
    )


def _say_what_changes_nothing(config: Config) -> None:
    """Keys that a recipe of another network brings along."""
    optimizer, level, layers = config.optimizer, config.model.amp_level, config.model.amp_cast_list
    if config.loss.aux_factor:
        logger.info("aux_factor %g: HRNet has no auxiliary outputs, it changes nothing", config.loss.aux_factor)
    if optimizer.use_nesterov and optimizer.opt not in NESTEROV:
        logger.info("use_nesterov: %s has no such form, it changes nothing", optimizer.opt)
    if layers and level not in AMP_LAYERS:
        logger.info("amp_cast_list: amp_level %s casts no layers by name, it changes nothing", level)
    others = [layer for layer in layers or () if layer.removeprefix("nn.") in OTHER_LAYERS]
    if others:
        logger.info("amp_cast_list: HRNet has no %s, they change nothing", ", ".join(others))
