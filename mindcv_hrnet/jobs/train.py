"""The training job: open the data, look at what is resumed, build, fit."""

import logging
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.outlines import check_files
from mindcv_hrnet.data.prefetch import usable_workers
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.data.to_mindspore import as_dataset
from mindcv_hrnet.engine.build import build_step, drop_rates_of
from mindcv_hrnet.engine.callbacks import EpochEnd, LossGuard
from mindcv_hrnet.engine.epoch_end import EpochMeasure
from mindcv_hrnet.engine.evaluate import Evaluator
from mindcv_hrnet.engine.graphs import KeepGraph, graph_cache
from mindcv_hrnet.engine.history import command_to_go_on, compare_recipes, write_history
from mindcv_hrnet.engine.interruptions import Interruptions
from mindcv_hrnet.engine.open_data import open_data
from mindcv_hrnet.engine.rank_agreement import Agreement, check_equal_weights
from mindcv_hrnet.engine.resume import Images, Resumed, check_sizes, find_run
from mindcv_hrnet.engine.run_folder import LOG, RunFolder
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.saving import Saving
from mindcv_hrnet.engine.schedules import build_schedule, rate_of_steps
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.engine.state import restore_state
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.engine.step_log import DataWait, Gauges, StepLog
from mindcv_hrnet.engine.trackers.choose import check_tracker, open_trackers
from mindcv_hrnet.engine.trackers.tracker import Trackers
from mindcv_hrnet.engine.whereabouts import Whereabouts
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.runtime.cores import usable_cores
from mindcv_hrnet.runtime.deadline import Deadline
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.heartbeat import Heartbeat
from mindcv_hrnet.runtime.run_log import RunLog
from mindcv_hrnet.runtime.signals import stop_requests

logger = logging.getLogger(__name__)


def train(config: Config) -> Path:
    """Train the recipe; returns the run folder."""
    check_tracker(config.train.tracker)
    cluster = start(config.system)
    with ExitStack() as stack:
        log = stack.enter_context(RunLog(cluster.rank))
        heartbeat = stack.enter_context(Heartbeat(cluster, config.system.rank_timeout, log.record))
        resumed = find_run(config) if config.train.resume_opt else None
        if resumed:
            config = config.override(ckpt_path=str(resumed.folder))
        config, source, validation = open_data(config, resumed.class_names if resumed else ())
        folder = RunFolder.of(config, source.class_names) if cluster.is_main else None
        if folder:
            stack.callback(folder.close)
        log.open(run_folder(config) / LOG)
        config, whole, changed = compare_recipes(config, resumed.folder if resumed else None)
        loader, evaluation_loader = _open_loaders(config, source, validation, cluster, stack)
        if validation and cluster.is_main:
            check_files(validation, config.data.num_parallel_workers)
        images = Images(len(source), len(validation) if validation else 0)
        shape = _shape_of_run(config, loader, cluster, resumed, images)
        schedule = build_schedule(
            config.scheduler, shape.epochs, shape.steps_per_epoch, config.train.gradient_accumulation_steps
        )
        network, step = build_step(config, schedule, cluster, source.class_names)
        if resumed:
            restore_state(step, resumed, cluster)
        check_equal_weights(network, cluster, within=not shape.ends_epoch(shape.first_step))
        if folder:
            folder.begin(whole, shape.first_step)
            write_history(folder.folder, shape, ranks=cluster.size, device=cluster.device, changed=changed)
        _announce(config, source, validation, shape, network, cluster)
        piece = sunk_piece(config, shape, cluster)
        graphs = stack.enter_context(graph_cache(config, cluster, "train", updates=len(schedule), piece=piece))
        evaluate = (
            Evaluator(step.validated, evaluation_loader, config.augmentation, cluster, graphs)
            if evaluation_loader
            else None
        )
        keep_graph = KeepGraph(graphs, stack.enter_context(ExitStack()))
        saving = Saving(step, shape, cluster, images, folder)
        stack.callback(saving.close)
        trackers = open_trackers(whole, folder.folder, shape.first_step, loader) if folder else Trackers()
        stack.callback(trackers.close)
        data_wait = DataWait((lambda: loader.waited_s) if piece else None)
        step_log, guard, epoch_end = _callbacks(
            config, shape, schedule, step, data_wait, evaluate, saving, trackers, cluster, resumed
        )
        stack.callback(step_log.close)
        command = command_to_go_on(sys.argv, cluster.launcher, cluster.size)
        heartbeat.advice = f"go on with: {command}"
        whereabouts = Whereabouts(shape, heartbeat, validates=evaluate is not None)
        interruptions = Interruptions(
            shape, step_log, guard, saving, cluster, config.train, requests=stop_requests, command=command
        )
        if evaluate:
            evaluate.between += (whereabouts.between_batches, interruptions.between_batches)
        if resumed and resumed.entry.validation_due:
            epoch_end.validate_late(resumed.entry)
        callbacks = [whereabouts, keep_graph, step_log, guard, epoch_end, interruptions, data_wait]
        fit(step, loader, callbacks, shape, piece)
        stop_requests.orderly = False
        saving.close()
        saving.log_costs()
        if loader.damaged:
            logger.warning("%d training files could not be used; other images took their places", loader.damaged)
        if folder:
            best = folder.manifest.best
            score = f"  best top-1 {best.top1:.2f} % in epoch {best.epoch}" if best else ""
            logger.info("done: %s%s", folder.folder, score)
            logger.info("its report: mindcv-hrnet report %s", shlex.quote(str(folder.folder)))
    return run_folder(config)


def _open_loaders(
    config: Config, source: Source, validation: Source | None, cluster: Cluster, stack: ExitStack
) -> tuple[TrainLoader, EvalLoader | None]:
    """Loaders of this rank's share of both splits; `stack` closes them."""
    loader = TrainLoader(
        source,
        config.data,
        config.augmentation,
        config.system.seed,
        rank=cluster.rank,
        size=cluster.size,
        in_channels=config.model.in_channels,
        epochs=config.train.epoch_size,
        drop_rates=drop_rates_of(config.model),
    )
    stack.callback(loader.close)
    if validation is None:
        return loader, None
    evaluation_loader = EvalLoader(
        validation,
        config.data,
        config.augmentation,
        rank=cluster.rank,
        size=cluster.size,
        in_channels=config.model.in_channels,
    )
    stack.callback(evaluation_loader.close)
    return loader, evaluation_loader


def _shape_of_run(
    config: Config, loader: TrainLoader, cluster: Cluster, resumed: Resumed | None, images: Images
) -> RunShape:
    """The run's sizes. RunError where the recipe does not fit them, or the run that is resumed has others."""
    shape = RunShape(
        epochs=config.train.epoch_size,
        steps_per_epoch=loader.steps_per_epoch,
        global_batch_size=config.data.batch_size * cluster.size,
        first_step=resumed.entry.step if resumed else 0,
    )
    shape.check_length()
    if resumed:
        check_sizes(resumed, shape, images, cluster)
    shape.check_accumulation(config.train.gradient_accumulation_steps)
    return shape


def _callbacks(
    config: Config,
    shape: RunShape,
    schedule: np.ndarray,
    step: TrainStep,
    data_wait: DataWait,
    evaluate: Evaluator | None,
    saving: Saving,
    trackers: Trackers,
    cluster: Cluster,
    resumed: Resumed | None,
) -> tuple[StepLog, LossGuard, EpochEnd]:
    """What happens after a step, in this order."""
    interval = config.system.log_interval or shape.steps_per_epoch
    rates = rate_of_steps(schedule, config.train.gradient_accumulation_steps)
    within = resumed is not None and not shape.ends_epoch(shape.first_step)
    step_log = StepLog(
        shape,
        rates,
        interval,
        cluster,
        Gauges(step, cluster),
        data_wait,
        seconds_before=resumed.entry.seconds if resumed and within else 0.0,
        keep=trackers.step,
    )
    epoch_end = EpochEnd(
        shape,
        step_log,
        EpochMeasure(step, cluster, shape.steps_per_epoch),
        Agreement(step, cluster).after_epoch,
        saving,
        evaluate=evaluate,
        val_interval=config.system.val_interval,
        save_interval=config.train.ckpt_save_interval,
        advice=_advice(config.data.num_parallel_workers),
        keep=trackers.epoch,
    )
    return step_log, LossGuard(step, shape, cluster, interval, config.train.nan_patience), epoch_end


def _advice(workers: int) -> str:
    """What makes a host faster that keeps its device waiting."""
    cores = usable_cores()
    if workers < cores:
        return f"raise num_parallel_workers ({workers} of {cores} cores), or pack the data set (docs/data.md)"
    return f"all {cores} cores decode; pack the data set or lower image sizes on the disk (docs/data.md)"


def sunk_piece(config: Config, shape: RunShape, cluster: Cluster) -> int | None:
    """Steps whose batches the device fetches by itself, in a row; None where it has no queue to fetch them from.

    No more than there are between two saves, or two looks at the clock.
    """
    if not config.train.dataset_sink_mode or cluster.device == "CPU":
        return None
    look = config.system.log_interval if config.train.ckpt_save_minutes else None
    return shape.piece(config.train.ckpt_save_steps or look or shape.steps_per_epoch)


def fit(
    step: TrainStep, loader: TrainLoader, callbacks: list[ms.Callback], shape: RunShape, piece: int | None = None
) -> None:
    """Run the steps that are left as one pass over them, in sink mode in pieces of `piece` steps.

    An error inside the loader is raised as itself, not as MindSpore wraps it. In sink mode it may never be raised: the
    device waits for its queue. Then the deadline ends the run.
    """
    steps = shape.steps - shape.first_step
    if steps <= 0:
        return
    deadline = Deadline()
    dataset = as_dataset(loader, shape.first_step, steps, deadline.start if piece else None)
    model = ms.Model(step)
    try:
        if piece:
            model.train(steps // piece, dataset, callbacks=callbacks, dataset_sink_mode=True, sink_size=piece)
        else:
            model.train(1, dataset, callbacks=callbacks, dataset_sink_mode=False)
    except RuntimeError:
        if loader.error is not None:
            raise loader.error from None
        raise
    finally:
        deadline.cancel()


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
    training = f"{len(source)} training images{f' ({used} used per epoch)' if used else ''}"
    validated = f"{len(validation)} validation images" if validation else "no validation (val_while_train is False)"
    threads = usable_workers(config.data.num_parallel_workers)
    decoded = f"{threads} decoding thread{'s' if threads > 1 else ''}"
    logger.info("data: %s in %s, %s, %s", training, config.data.data_dir, validated, decoded)
    devices = f"{cluster.device} x {cluster.size} ({cluster.launcher})"
    mode = ("graph", "PyNative")[config.system.mode]
    batch = f"{shape.global_batch_size}{f' x {accumulated} accumulated' if accumulated > 1 else ''}"
    within = shape.first_step % shape.steps_per_epoch
    place = f"{shape.first_epoch + 1} (step {within + 1})" if within else str(shape.first_epoch + 1)
    epochs = f"epochs {place} to {shape.epochs} of {shape.steps_per_epoch} steps"
    logger.info("%s, %s mode, amp %s, global batch %s, %s", devices, mode, config.model.amp_level, batch, epochs)
    if cluster.device == "CPU" and config.system.device_target == "auto":
        logger.warning(
            "device_target auto: no NPU and no GPU works here, so this trains on the CPU (%d cores), where an epoch of "
            "ImageNet takes days; --device_target CPU says that it is meant",
            usable_cores(),
        )
    if config.train.dataset_sink_mode and cluster.device == "CPU":
        logger.info("dataset_sink_mode: the CPU has no queue to feed, steps run one by one")
