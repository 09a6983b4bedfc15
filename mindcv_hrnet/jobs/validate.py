"""The validation job: a checkpoint's top-1, top-5 and loss."""

import logging
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mindcv_hrnet.data.loader import EvalLoader
from mindcv_hrnet.data.outlines import check_files
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.engine.evaluate import Evaluation, Evaluator
from mindcv_hrnet.engine.graphs import graph_cache
from mindcv_hrnet.engine.label_files import class_table, real_score
from mindcv_hrnet.engine.load import load_network
from mindcv_hrnet.engine.open_data import open_validation
from mindcv_hrnet.engine.predictions import Collector, Predictions
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.heartbeat import Heartbeat
from mindcv_hrnet.runtime.progress import event
from mindcv_hrnet.weights import count_classes

logger = logging.getLogger(__name__)


class Measured(NamedTuple):
    """The scores of weights, what they answered for each image, where that was asked for, and the images."""

    result: Evaluation
    predictions: Predictions | None
    source: Source


def validate(config: Config) -> Evaluation:
    """Measure `ckpt_path` on the validation split. Every rank returns the same result."""
    cluster = start(config.system)
    measured = measure(config, cluster, collects=_wants_predictions(config))
    if cluster.is_main:
        _say(config, str(measured.result), **measured.result.numbers)
        if measured.predictions:
            _show(config, measured.predictions, measured.source)
    return measured.result


def measure(config: Config, cluster: Cluster, *, collects: bool) -> Measured:
    """Scores of `ckpt_path` on the validation split; with `collects` the answers, too. The same on every rank."""
    with Heartbeat(cluster, config.system.rank_timeout) as heartbeat:
        return _measure(config, cluster, heartbeat, collects=collects)


def _measure(config: Config, cluster: Cluster, heartbeat: Heartbeat, *, collects: bool) -> Measured:
    network, path, arrays, names = load_network(config)
    num_classes = count_classes(arrays, path)
    source = open_validation(config, names, path, num_classes)
    if len(source.class_names) != num_classes:
        raise DataError(
            f"{source.root}: has {len(source.class_names)} classes, {path} has {num_classes}; "
            "pass the data_dir that the checkpoint was trained on"
        )
    devices = f"{cluster.device} x {cluster.size} ({cluster.launcher})"
    logger.info("%s, %s: %d images in %s, %s", config.model.model, path, len(source), source.root, devices)
    if cluster.is_main:
        check_files(source, config.data.num_parallel_workers)
    loader = EvalLoader(
        source,
        config.data,
        config.augmentation,
        rank=cluster.rank,
        size=cluster.size,
        in_channels=config.model.in_channels,
    )
    with (
        closing(loader),
        graph_cache(config.override(num_classes=num_classes), cluster, "validate") as graphs,
    ):
        present = config.validation.present_classes
        evaluator = Evaluator(network, loader, config.augmentation, cluster, graphs, present_classes=present)
        evaluator.between = (heartbeat.next_batch,)
        collector = Collector(source.labels, num_classes) if collects else None
        result = evaluator(collector)
    return Measured(result, collector.gather(cluster) if collector else None, source)


def _say(config: Config, text: str, **numbers: float | None) -> None:
    """A line of the answer; for machines its numbers, or a notice where it has none."""
    if config.system.log_format == "json":
        logger.info("%s", text, extra=event("validation", **numbers) if numbers else None)
    else:
        print(text, flush=True)


def _wants_predictions(config: Config) -> bool:
    validation = config.validation
    return bool(validation.predictions or validation.per_class or validation.real_labels)


def _show(config: Config, predictions: Predictions, source: Source) -> None:
    """What the recipe asks for beside the scores."""
    validation = config.validation
    if validation.real_labels:
        score = real_score(validation.real_labels, predictions, source)
        _say(
            config, f"ReaL top-1 {score.top1:.2f} % of {score.images} images", real_top1=score.top1, images=score.images
        )
    if validation.per_class:
        for line in class_table(predictions, source.class_names):
            _say(config, line)
    if validation.predictions:
        predictions.write(Path(validation.predictions), source)
        logger.info("predictions: %s", validation.predictions)
