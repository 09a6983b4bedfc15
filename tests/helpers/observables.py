"""What a recipe does, as values to compare: each function takes a Config and runs the code that a job runs.

A network of two layers and a bottleneck stands in for HRNet where the network itself is not in question.
"""

import csv
import io
import itertools
import logging
import os
import re
import tempfile
import threading
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindcv_hrnet import models
from mindcv_hrnet.cli import set_up_logging
from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.engine.build import build_preprocess, build_step, drop_rates_of
from mindcv_hrnet.engine.graphs import graph_cache
from mindcv_hrnet.engine.interruptions import Interruptions
from mindcv_hrnet.engine.open_data import open_data, open_validation
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.schedules import build_schedule
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.jobs.export import export
from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.jobs.validate import validate
from mindcv_hrnet.models.drop import Dropout, Row, number_columns
from mindcv_hrnet.models.hrnet import Bottleneck
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, Dense, GlobalMean
from mindcv_hrnet.models.variants import Spec
from mindcv_hrnet.runtime import compiled
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.heartbeat import Heartbeat
from mindcv_hrnet.runtime.signals import StopRequests
from mindcv_hrnet.weights import write_weights


class Sketch(nn.Cell):
    """A stem, a residual block and a classifier, with an HRNet's names."""

    def __init__(self, num_classes, in_channels, drop_rate=0.0, drop_path_rate=0.0):
        super().__init__()
        self.conv1 = Conv2d(in_channels, 4, stride=2)
        self.bn1 = BatchNorm(4)
        self.layer1 = Row(Bottleneck(4, 4, drop_path_rate))
        self.pool = GlobalMean()
        self.drops = drop_rate > 0
        if self.drops:
            self.dropout = Dropout(drop_rate)
        self.classifier = Dense(4, num_classes)
        number_columns(self)

    def construct(self, images, keep=None):
        features = self.pool(self.layer1(self.bn1(self.conv1(images)), keep))
        return self.classifier(self.dropout(features, keep) if self.drops else features)


@contextmanager
def sketched():
    """The jobs build a Sketch, from the same random numbers each time."""

    def create(name, num_classes, in_channels, **rates):
        ms.set_seed(0)
        return Sketch(num_classes, in_channels, **rates)

    with pytest.MonkeyPatch.context() as patch:
        for place in ("build", "load"):
            patch.setattr(f"mindcv_hrnet.engine.{place}.create_model", create)
        patch.setenv("MS_DEV_NETWORK", "sketch")  # is in the names of compiled graphs, where recipes are equal
        yield


@contextmanager
def log_lines():
    """The lines that the package logs meanwhile, without what differs from run to run."""
    lines = []

    class Collector(logging.Handler):
        def emit(self, record):
            lines.append(re.sub(r"/\S+/|  \d+ images/s.*|[\d.]+ s$", "", record.getMessage()))

    handler = Collector()
    logger = logging.getLogger("mindcv_hrnet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def elsewhere():
    """A fresh folder to stand in."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder).resolve()
        finally:
            os.chdir(before)


def frozen(arrays):
    """Arrays by name, or in a row, as something that compares: shape and bytes of each."""
    items = arrays.items() if isinstance(arrays, dict) else enumerate(arrays)
    return {name: (array.shape, array.tobytes()) for name, array in items}


# --- data ----------------------------------------------------------------------------------------------------------


def train_loader(config):
    config, source, _ = open_data(config)
    loader = TrainLoader(
        source,
        config.data,
        config.augmentation,
        config.system.seed,
        in_channels=config.model.in_channels,
        drop_rates=drop_rates_of(config.model),
    )
    return config, loader


def training_batches(config):
    """All batches of two epochs."""
    _, loader = train_loader(config)
    with closing(loader):
        return [frozen(batch) for epoch in range(2) for batch in loader.batches(epoch)]


def device_batch(config):
    """The first batch as the network sees it."""
    config, loader = train_loader(config)
    with closing(loader):
        batch = [ms.Tensor(array) for array in next(loader.batches(0))]
    return frozen([tensor.asnumpy() for tensor in build_preprocess(config)(*batch[:4])])


def validation_batches(config):
    source = open_validation(config)
    with closing(EvalLoader(source, config.data, config.augmentation, in_channels=config.model.in_channels)) as loader:
        return [frozen(batch) for batch in loader]


def decoding_threads(config):
    """How many threads are at work once a batch is there."""
    before = set(threading.enumerate())
    _, loader = train_loader(config)
    with closing(loader):
        next(loader.batches(0))
        return len(set(threading.enumerate()) - before)


def classes(config):
    config, source, _ = open_data(config)
    return config.model.num_classes, source.class_names


def fetched(config):
    """Files of the data folder after the data set is opened."""
    with elsewhere() as folder:
        open_data(config)
        return sorted(path.name for path in folder.rglob("*") if path.is_file())


def weights_of(parameters):
    return frozen({name: parameter.asnumpy() for name, parameter in parameters.items()})


# --- network, schedule, updates ------------------------------------------------------------------------------------


def network_shapes(config):
    """Names and shapes of the real network's parameters."""
    network = models.create_model(config.model.model, 5, config.model.in_channels)
    return {parameter.name: parameter.shape for parameter in network.get_parameters()}


def schedule(config):
    return frozen([build_schedule(config.scheduler, config.train.epoch_size, 5)])


def steps(config, cluster=None):
    """Losses, counts, weights, and weights to save after an epoch of training steps."""
    start(config.system)
    config, loader = train_loader(config)
    rates = np.full(20, config.scheduler.lr, np.float32)
    with closing(loader), sketched():
        network, step = build_step(config, rates, cluster or Cluster())
        losses = [float(step(*map(ms.Tensor, batch))) for batch in loader.batches(0)]
    # bytes, as a loss that is no number is unequal to itself
    return (
        np.array(losses).tobytes(),
        str(step.totals.take()),
        weights_of(network.parameters_dict()),
        weights_of(step.weights()),
    )


def steps_of_two_ranks(config):
    """As `steps`, of a rank whose peer has the same images: sums over both are twice its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "AllReduce", lambda: lambda tensor: tensor * 2)
        patch.setattr(nn, "DistributedGradReducer", lambda parameters: nn.Identity())
        return steps(config, Cluster(size=2))


def starting_weights(config):
    with sketched():
        network, _ = build_step(config.override(num_classes=3), np.ones(1, np.float32), Cluster())
    return weights_of(network.parameters_dict())


def classifier(config):
    """The classifier that training on the classes of the checkpoint, in another order, starts from."""
    with sketched():
        network, _ = build_step(
            config.override(num_classes=3), np.ones(1, np.float32), Cluster(), ("cat", "ant", "bee")
        )
    return frozen([network.classifier.weight.asnumpy()])


def cells_computed_again(config):
    """Which cells the backward pass computes again, and whose statistics the step moves."""
    with sketched():
        network, step = build_step(config.override(num_classes=3), np.ones(1, np.float32), Cluster())
    flagged = [name for name, cell in network.cells_and_names() if "output_recompute" in cell.get_flags()]
    return flagged, step.statistics and len(step.statistics.parameters)


# --- whole jobs ----------------------------------------------------------------------------------------------------


def connection(config):
    """Who this process is after `connect`, whether cells are compiled then and how, and what was said."""
    with log_lines() as lines:
        cluster = start(config.system)
    cell = GlobalMean()
    cell(ms.Tensor(np.ones((1, 1, 2, 2)), ms.float32))
    how = ms.context.get_jit_config()
    ms.set_context(jit_config={})
    return cluster, bool(cell.compile_cache), how, lines


def line_on_stdout(config):
    """How a log line looks, without its time."""
    logger = logging.getLogger("mindcv_hrnet")
    before, printed = (logger.handlers[:], logger.level, logger.propagate), io.StringIO()
    try:
        with redirect_stdout(printed):
            set_up_logging(config.system.log_format)
        logger.info("here")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    return re.sub(r"\d{4}-[^\"]+", "", printed.getvalue())


def kept_graphs(config):
    """Where a training job keeps its compiled graphs, were it the first job of its process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_jobs", itertools.count())
        with graph_cache(config, Cluster(), "train") as graphs:
            return graphs.file


def run(config):
    """Files, metrics without times, log lines and newest weights of a training run."""
    with elsewhere() as folder, sketched(), log_lines() as lines:
        place = train(config)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        files = [re.sub(r"tfevents\..*", "tfevents", file) for file in files]
        with open(place / "metrics.csv", newline="") as file:
            rows = [
                {key: row[key] for key in row if key not in ("seconds", "images_per_second", "data_wait")}
                for row in csv.DictReader(file)
            ]
        newest = max(place.glob("*-state-*"))
        # a thread saves: its lines may come a little earlier or later
        return place.relative_to(folder), files, rows, sorted(lines), newest.read_bytes()


def patience_with_ranks(config):
    """Seconds after which the heartbeat of a training job finds a silent rank."""
    seen = []

    class Watched(Heartbeat):
        def __init__(self, cluster, limit_s, record=str):
            super().__init__(cluster, limit_s, record)
            seen.append(limit_s)

    with elsewhere(), sketched(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindcv_hrnet.jobs.train.Heartbeat", Watched)
        train(config)
    return seen


def run_without_services(config):
    """A training run where no tracking service's package is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindcv_hrnet.engine.trackers.choose.find_spec", lambda package: None)
        return run(config)


def saves_by_the_clock(config):
    """After which steps a run whose steps take a minute saves its state."""
    saved = []
    saving = SimpleNamespace(saved_at=0.0, saved_step=0, writer=SimpleNamespace(busy=False), look_after=lambda: None)

    def save(step, seconds):
        saved.append(step)
        saving.saved_at = 60.0 * step

    saving.save_within = save
    parts: list[Any] = [SimpleNamespace(seconds=0.0), SimpleNamespace(in_a_row=0), saving, Cluster(), config.train]
    begin: Any = Interruptions
    called = begin(RunShape(1, 40, 8), *parts, StopRequests(), "")
    for step in range(1, 31):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.monotonic", lambda step=step: 60.0 * step)
            arguments = SimpleNamespace(cur_step_num=step)
            called.on_train_step_end(SimpleNamespace(original_args=lambda arguments=arguments: arguments))
    return saved


def validation_and_more(config):
    """What the validation job prints without its speed, and the files that it writes."""
    printed = io.StringIO()
    with elsewhere() as folder, sketched(), redirect_stdout(printed):
        validate(config)
        files = sorted(path.name for path in folder.iterdir())
    return re.sub(r"\d+ images/s", "", printed.getvalue()), files


def validation(config):
    """Counts and loss of the validation job."""
    with sketched():
        result = validate(config)
    return result.count, result.correct1, result.loss


TINY = Spec(
    width=2, stage1=(1, 8), modules=(1, 1, 1), blocks=1, stem_width=4, head_widths=(4, 8, 12, 16), head_features=20
)


def exported(config):
    """Name, input and outputs of the file that an HRNet of a few thousand parameters is exported to."""

    def create(name, num_classes=3, in_channels=3, features_only=False, features="raw"):
        if features_only:
            return models.HRNetFeatures(TINY, in_channels, widened=features == "incre")
        return models.HRNet(TINY, num_classes, in_channels)

    with elsewhere() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindcv_hrnet.engine.load.create_model", create)
        arrays = {name: each.asnumpy() for name, each in create("tiny").parameters_dict().items()}
        write_weights(arrays, folder / "tiny.ckpt")
        (path,) = export(config.override(ckpt_path="tiny.ckpt"))
        noted = load_model(path).metadata
        return path.name, noted.input_shape, noted.input_dtype, noted.outputs
