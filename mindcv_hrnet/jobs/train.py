"""The training job: build everything from the recipe, then one `fit`."""

import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindcv_hrnet.data.loader import EvalLoader, TrainLoader, build_train_transform
from mindcv_hrnet.data.sources.download import download_dataset
from mindcv_hrnet.data.sources.split import Source, open_split
from mindcv_hrnet.data.to_mindspore import as_dataset
from mindcv_hrnet.engine.callbacks import (
    EpochRecord,
    EqualStatistics,
    MetricsFile,
    Progress,
    RunShape,
    SaveCheckpoint,
    TrainLoss,
    Validate,
)
from mindcv_hrnet.engine.evaluate import Evaluator
from mindcv_hrnet.engine.load import weights_of
from mindcv_hrnet.engine.losses import build_loss
from mindcv_hrnet.engine.optimizers import NESTEROV, build_optimizer
from mindcv_hrnet.engine.preprocess import Preprocess
from mindcv_hrnet.engine.run_folder import RunFolder, find_state, restore_state
from mindcv_hrnet.engine.schedules import build_schedule
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import ConfigError, DataError, RunError
from mindcv_hrnet.models import HALF, create_model, freeze, recompute, set_precision, synchronise
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.recipe.keys import AMP_LAYERS, OTHER_LAYERS
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import write_text
from mindcv_hrnet.weights import start_from

logger = logging.getLogger(__name__)


def train(config: Config) -> Path:
    """Train the recipe; returns the run folder."""
    build_train_transform(config.augmentation)  # a policy that cannot be parsed fails before the data set is read
    cluster = start(config.system)
    config, source, validation = open_data(config)
    folder = (
        RunFolder(run_folder(config), config.model.model, source.class_names, config.train) if cluster.is_main else None
    )
    resumed = find_state(config.model.ckpt_path) if config.train.resume_opt else None
    place = (cluster.rank, cluster.size, config.model.in_channels)
    with ExitStack() as stack:
        loader = TrainLoader(
            source, config.data, config.augmentation, config.system.seed, *place, epochs=config.train.epoch_size
        )
        stack.callback(loader.close)
        shape = RunShape(
            epochs=config.train.epoch_size,
            steps_per_epoch=loader.steps_per_epoch,
            global_batch_size=config.data.batch_size * cluster.size,
            first_epoch=resumed[1].epoch if resumed else 0,
        )
        if shape.first_epoch >= shape.epochs:
            raise RunError(f"{config.model.ckpt_path}: has all {shape.first_epoch} epochs; raise --epoch_size to go on")
        if resumed and resumed[1].step != shape.first_epoch * shape.steps_per_epoch:
            raise RunError(
                f"{resumed[0]}: was saved at step {resumed[1].step} after epoch {resumed[1].epoch}, here an epoch has "
                f"{shape.steps_per_epoch} steps; resume with the same data set and the same global batch size "
                "(batch_size x ranks)"
            )
        accumulation = config.train.gradient_accumulation_steps
        if accumulation > shape.steps_per_epoch:
            raise RunError(
                f"gradient_accumulation_steps {accumulation} is more than the {shape.steps_per_epoch} steps of an "
                "epoch; lower it"
            )
        schedule = build_schedule(config.scheduler, shape.epochs, shape.steps_per_epoch, accumulation)
        network, step = build_step(config, schedule, cluster)
        if resumed:
            restore_state(step, resumed[0])
        check_equal_weights(network, cluster)
        if folder:
            write_text(folder.folder / "config.yaml", config.to_yaml())
        _announce(config, source, validation, shape, network, cluster)

        record = EpochRecord()
        log_interval = config.system.log_interval or shape.steps_per_epoch
        callbacks = [
            Progress(shape, rate_of_steps(schedule, accumulation), log_interval, record, cluster),
            TrainLoss(step, shape, record, cluster, log_interval),
            EqualStatistics(step, cluster),
        ]
        if validation:
            evaluation_loader = EvalLoader(validation, config.data, config.augmentation, *place)
            stack.callback(evaluation_loader.close)
            evaluate = Evaluator(network, evaluation_loader, config.augmentation, cluster)
            callbacks.append(Validate(evaluate, step, config.system.val_interval, shape.epochs, record))
        if folder:
            callbacks.append(MetricsFile(folder.folder / "metrics.csv", record, shape.first_epoch))
            callbacks.append(SaveCheckpoint(folder, step, shape.epochs, record))
        fit(step, loader, callbacks, shape, config)
        if loader.damaged:
            logger.warning("%d training files could not be used; other images took their places", loader.damaged)
    if folder:
        best = folder.manifest.best
        logger.info(
            "done: %s%s", folder.folder, f"  best top-1 {best.top1:.2f} % in epoch {best.epoch}" if best else ""
        )
    return run_folder(config)


def rate_of_steps(schedule: np.ndarray, accumulation: int) -> np.ndarray:
    """The learning rate of every step, out of those of the updates; a rest without an update shows the last."""
    steps = np.repeat(schedule, accumulation)
    return np.append(steps, np.repeat(steps[-1:], accumulation - 1))


def open_data(config: Config) -> tuple[Config, Source, Source | None]:
    """The recipe with `num_classes` filled in, the training split, and the validation split where it is wanted."""
    data = config.data
    download_dataset(data)
    source = open_split(data.data_dir, data.train_split, dataset=data.dataset)
    found, stated = len(source.class_names), config.model.num_classes
    if stated is not None and stated != found:
        raise DataError(f"{source.root}: has {found} classes, num_classes is {stated}; pass --num_classes {found}")
    wanted = config.system.val_while_train
    validation = open_split(data.data_dir, data.val_split, source.class_names, data.dataset) if wanted else None
    return config.override(num_classes=found), source, validation


def build_step(config: Config, schedule: np.ndarray, cluster: Cluster) -> tuple[nn.Cell, TrainStep]:
    """(network, the cell that trains it)."""
    assert config.model.num_classes is not None
    network = create_model(
        *(config.model.model, config.model.num_classes, config.model.in_channels),
        drop_rate=config.model.drop_rate or 0.0,
        drop_path_rate=config.model.drop_path_rate or 0.0,
    )
    if not config.train.resume_opt:
        path = weights_of(config.model)
        if path:
            start_from(network, path, level=logging.INFO)  # of several ranks the first one says it
    if config.train.freeze:
        spared = freeze(network, config.train.freeze)
        logger.info("frozen: %s, %.2f M parameters", " ".join(config.train.freeze), spared / 1e6)
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


def build_preprocess(config: Config) -> Preprocess:
    """The device's part of the training transform; what the recipe leaves off is not in the graph."""
    a = config.augmentation
    assert config.model.num_classes is not None
    return Preprocess(
        *(a.mean, a.std, a.image_resize, config.model.num_classes, config.loss.label_smoothing),
        erase=a.re_prob > 0,
        mix=a.cutmix_prob > 0 and max(a.mixup, a.cutmix) > 0,
    )


def check_equal_weights(network: nn.Cell, cluster: Cluster) -> None:
    """Raise RunError unless every rank starts from the same weights."""
    own = np.array([float(np.abs(p.asnumpy()).sum(dtype=np.float64)) for p in network.get_parameters()], np.float32)
    if not np.allclose(sum_over_ranks(own, cluster), own * cluster.size, rtol=1e-6):
        raise RunError("the ranks start from different weights; give every rank the same seed and ckpt_path")


def fit(step: TrainStep, loader: TrainLoader, callbacks: list[ms.Callback], shape: RunShape, config: Config) -> None:
    """Run the epochs that are left. An error inside the loader is raised as itself, not as MindSpore wraps it."""
    dataset = as_dataset(loader, start_epoch=shape.first_epoch)
    try:
        ms.Model(step).train(
            shape.epochs,
            dataset,
            callbacks=callbacks,
            dataset_sink_mode=config.train.dataset_sink_mode,
            initial_epoch=shape.first_epoch,
        )
    except RuntimeError:
        if loader.error is not None:
            raise loader.error from None
        raise


def _announce(
    config: Config,
    source: Source,
    validation: Source | None,
    shape: RunShape,
    network: nn.Cell,
    cluster: Cluster,
) -> None:
    """What is about to run, in three lines."""
    accumulated = config.train.gradient_accumulation_steps
    parameters = sum(p.size for p in network.trainable_params())
    logger.info("%s, %.2f M parameters, %d classes", config.model.model, parameters / 1e6, len(source.class_names))
    used = config.data.num_samples
    logger.info(
        "data: %d training images%s in %s, %s",
        *(len(source), f" ({used} used per epoch)" if used else "", config.data.data_dir),
        f"{len(validation)} validation images" if validation else "no validation (val_while_train is False)",
    )
    logger.info(
        "%s x %d (%s), %s mode, amp %s, global batch %s, epochs %d to %d of %d steps",
        *(cluster.device, cluster.size, cluster.launcher, ("graph", "PyNative")[config.system.mode]),
        *(config.model.amp_level, f"{shape.global_batch_size}{f' x {accumulated} accumulated' * (accumulated > 1)}"),
        *(shape.first_epoch + 1, shape.epochs, shape.steps_per_epoch),
    )
    if config.train.dataset_sink_mode and cluster.device == "CPU":
        logger.info("dataset_sink_mode: the CPU has no queue to feed, steps run one by one")
