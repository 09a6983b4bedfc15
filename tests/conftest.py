"""What tests of several modules share: quiet MindSpore, PyNative mode, and networks of a few thousand parameters."""

import gc
import logging
import os
import shutil
from collections import Counter

os.environ.setdefault("GLOG_v", "3")

import mindcv_hrnet  # isort: skip  # noqa: F401 - it chooses the CPU kernels
import mindspore
import numpy as np
import pytest

from mindcv_hrnet.runtime.cores import share_of
from mindcv_hrnet.runtime.locks import exclusive_lock

ALL_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
# Each process of pytest-xdist keeps to some: MindSpore's threads wait for each other in loops, on any core they find
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    worker, workers = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    mine = share_of(ALL_CORES, worker, workers) or [ALL_CORES[worker % len(ALL_CORES)]]
    os.sched_setaffinity(0, mine)

# Before any test runs a kernel: MindSpore takes a device only once, and asks for the same one again without complaint
mindspore.set_device("CPU")
# One operation after the other: MindSpore's threads of PyNative mode wait for each other in loops that use up the cores
mindspore.set_context(pynative_synchronize=True)


FUZZ_CASES = 1000
FUZZED = pytest.StashKey[dict[str, Counter[str]]]()
DEVIATIONS = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser):
    parser.addoption("--deviations", action="store_true", help="print the largest deviation from each reference")
    parser.addoption(
        "--fuzz-cases", type=int, default=FUZZ_CASES, help="cases of tests/test_fuzz.py in all (default 1000)"
    )


def pytest_collection_finish():
    """MindSpore collects garbage before every compile, and would look through all tests and modules each time."""
    gc.collect()
    gc.freeze()


# Each of their tests starts two ranks, on a machine that may have two cores: never two of them at once
ONE_FILE_AFTER_THE_OTHER = (
    "tests/integration/test_ranks.py",
    "tests/integration/test_hanging_ranks.py",
    "tests/scripts/test_launch.py",
)


def pytest_collection_modifyitems(items):
    """Ranks first, then other slow files: no worker is left alone with a file that takes a minute."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item):
        file = item.nodeid.partition("::")[0]
        return 0 if file in ONE_FILE_AFTER_THE_OTHER else 1 if item.path in slow else 2

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile`, but one worker has all files whose tests are ranks."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return ONE_FILE_AFTER_THE_OTHER[0] if file in ONE_FILE_AFTER_THE_OTHER else file

    return Scheduler(config, log)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--deviations"):
        for what, largest in config.stash.get(DEVIATIONS, {}).items():
            terminalreporter.write_line(f"{what}: {largest:.2g}")
    if config.getoption("--fuzz-cases") != FUZZ_CASES:
        for kind, counts in config.stash.get(FUZZED, {}).items():
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
            terminalreporter.write_line(f"{kind}: {sum(counts.values())} cases, {outcomes}")


@pytest.fixture
def fuzz_outcomes(pytestconfig):
    """Kind of input -> Counter of what became of its cases; told at the end of a run of more cases than usual."""
    return pytestconfig.stash.setdefault(FUZZED, {})


@pytest.fixture
def measured(pytestconfig):
    """A function (what, ours, reference, relative=False) that notes the largest deviation, or the mean of images."""
    noted = pytestconfig.stash.setdefault(DEVIATIONS, {})

    def note(what, ours, reference, relative=False):
        ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
        found = np.abs(ours - reference)
        if relative:
            found = found[reference != 0] / np.abs(reference[reference != 0])
        largest = float(found.mean() if ours.ndim == 3 else found.max(initial=0))
        noted[what] = max(noted.get(what, 0.0), largest)

    return note


@pytest.fixture(scope="session")
def all_cores():
    """Those that the tests may use, of which this process of pytest-xdist has a share."""
    return ALL_CORES


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory, request):
    """A folder that all processes of one pytest-xdist run share; without xdist this process's own."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "of-all-workers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def made_once(of_all_workers):
    """A function (name, make) -> folder of that name that `make(folder)` has filled, once for all workers."""

    def get(name, make):
        folder = of_all_workers / name
        with exclusive_lock(of_all_workers / f"{name}.lock"):  # who comes second waits until it is whole
            if not (folder / "whole").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "whole").touch()
        return folder

    return get


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(of_all_workers):
    """Nothing is taken from, or left in, the user's cache folder, by child processes neither; graphs compile once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDCV_HRNET_CACHE", str(of_all_workers / "cache"))
        yield


@pytest.fixture(autouse=True)
def _logger_as_before():
    """The command line sets up its logger for a whole process; here that ends with the test."""
    logger = logging.getLogger("mindcv_hrnet")
    level, handlers, propagate = logger.level, logger.handlers[:], logger.propagate
    yield
    logger.setLevel(level)  # not the attribute, which leaves what the logger remembers of it
    logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium here; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses to run as root with its sandbox
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_spec():
    """An HRNet of some thousand parameters with all four branches."""
    from mindcv_hrnet.models.variants import Spec

    return Spec(
        width=2, stage1=(1, 8), modules=(1, 1, 1), blocks=1, stem_width=4, head_widths=(4, 8, 12, 16), head_features=20
    )


@pytest.fixture
def pynative():
    """PyNative mode, before and after whatever the test sets."""
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture
def tiny_network(pynative, tiny_spec):
    """A function (num_classes, width=2) -> an HRNet with all four branches."""
    from dataclasses import replace

    from mindcv_hrnet.models import HRNet

    return lambda num_classes=5, width=2: HRNet(replace(tiny_spec, width=width), num_classes, 3)


@pytest.fixture(scope="session")
def tiny_mindir(tmp_path_factory, tiny_spec):
    """(path of an exported tiny HRNet with an open batch, the network, its metadata)."""
    import mindspore as ms

    from mindcv_hrnet.deploy.metadata import Metadata
    from mindcv_hrnet.deploy.mindir import write_mindir
    from mindcv_hrnet.models import HRNet

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    network = HRNet(tiny_spec, 5, 3).set_train(False)
    metadata = Metadata(
        model="tiny",
        in_channels=3,
        image_resize=32,
        crop_pct=0.875,
        interpolation="bilinear",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        class_names=("ant", "bée", "cat", "dog", "eel"),
    )
    path = tmp_path_factory.mktemp("mindir") / "tiny.mindir"
    write_mindir(network, metadata, path)
    return path, network, metadata


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory, tiny_mindir):
    """Path of the network of `tiny_mindir` as ONNX, with the same metadata."""
    from mindcv_hrnet.deploy.onnx_file import write_onnx

    _, network, metadata = tiny_mindir
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    write_onnx(network, metadata, path)
    return path


@pytest.fixture
def linear_step(pynative):
    """A function (loss={}, train={}, optimizer={}, rates=...) -> TrainStep of logits = images @ weight + bias.

    Its inputs are (N, 4) images and (N, 3) targets, its weight is `arange(12) / 10`.
    """
    import mindspore as ms
    from mindspore import Parameter, Tensor, nn, ops

    from mindcv_hrnet.engine.losses import build_loss
    from mindcv_hrnet.engine.optimizers import build_optimizer
    from mindcv_hrnet.engine.step import TrainStep
    from mindcv_hrnet.recipe.keys import LossConfig, OptimizerConfig, TrainConfig
    from mindcv_hrnet.runtime.distributed import Cluster

    class Linear(nn.Cell):
        def __init__(self):
            super().__init__()
            self.weight = Parameter(Tensor(np.arange(12).reshape(4, 3) / 10, ms.float32), name="weight")
            self.bias = Parameter(Tensor(np.zeros(3), ms.float32), name="bias")

        def construct(self, images):
            return ops.matmul(images, self.weight) + self.bias

    class Unchanged(nn.Cell):
        def construct(self, images, targets, erase, mix):
            return images, targets

    def build(loss=None, train=None, optimizer=None, rates=(1.0,) * 50):
        network = Linear()
        losses = LossConfig(**(loss or {}))
        settings = OptimizerConfig(**{"opt": "sgd", "momentum": 0.0, "weight_decay": 0.0, **(optimizer or {})})
        update = build_optimizer(network.trainable_params(), np.array(rates, np.float32), settings)
        trained = TrainConfig(**(train or {}))
        return TrainStep(network, Unchanged(), build_loss(losses), update, Cluster(), trained, losses).set_train()

    return build


@pytest.fixture
def linear_batch():
    """A function (seed) -> inputs of the step that `linear_step` builds; without a seed one image is infinite."""
    import mindspore as ms

    def make(seed=None):
        generator = np.random.default_rng(seed or 0)
        images = generator.standard_normal((6, 4))
        if seed is None:
            images[2, 1] = np.inf
        targets = np.eye(3)[generator.integers(0, 3, 6)]
        unused = ms.Tensor(np.zeros((6, 4)), ms.int32)
        return ms.Tensor(images, ms.float32), ms.Tensor(targets, ms.float32), unused, unused

    return make
