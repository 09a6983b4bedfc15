"""`fit` where the device waits for a queue whose thread has failed: sink mode, without a device."""

import logging
import threading

import mindspore as ms
import pytest

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.jobs import train as training
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig
from mindcv_hrnet.runtime.deadline import Deadline
from mindcv_hrnet.runtime.distributed import Cluster

SHAPE = RunShape(epochs=1, steps_per_epoch=1, global_batch_size=4)


@pytest.fixture
def damaged_loader(tmp_path):
    for name in ("x/a.jpg", "x/b.jpg", "y/a.jpg", "y/b.jpg"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"")
    data = DataConfig(batch_size=4, num_parallel_workers=2)
    loader = TrainLoader(ImageFolder(tmp_path / "train"), data, AugmentationConfig(image_resize=32), seed=0)
    yield loader
    loader.close()


def test_a_loader_error_that_only_the_queue_hears_of_ends_the_run(damaged_loader, monkeypatch, caplog, capsys):
    codes, ended = [], threading.Event()

    def leave(code):
        codes.append(code)
        ended.set()

    monkeypatch.setattr(training, "Deadline", lambda: Deadline(seconds=0.3, leave=leave))

    class Model:
        def __init__(self, step):
            pass

        def train(self, epochs, dataset, **kwargs):
            """As on a device: the queue's thread ends with the error, the main thread waits for a batch."""

            def feed():
                with pytest.raises(DataError):
                    list(dataset.source)  # what MindSpore's own thread iterates

            threading.Thread(target=feed, daemon=True).start()
            assert ended.wait(20), "nothing has ended the run"

    monkeypatch.setattr(ms, "Model", Model)
    training.fit(None, damaged_loader, [], SHAPE, piece=1)
    assert codes == [DataError.exit_code]
    (told,) = [line for line in caplog.messages if "the run ends within" in line]
    assert "training images cannot be used" in told
    assert "error: " in capsys.readouterr().err


def test_an_error_that_reaches_the_main_thread_is_raised_as_itself(damaged_loader, monkeypatch):
    codes = []
    monkeypatch.setattr(training, "Deadline", lambda: Deadline(seconds=0.3, leave=codes.append))

    class Model:
        def __init__(self, step):
            pass

        def train(self, epochs, dataset, **kwargs):
            list(dataset.create_tuple_iterator(num_epochs=1))

    monkeypatch.setattr(ms, "Model", Model)
    with pytest.raises(DataError, match="training images cannot be used"):
        training.fit(None, damaged_loader, [], SHAPE, piece=1)
    assert not threading.Event().wait(0.5) and codes == []


@pytest.mark.parametrize(("target", "warnings"), [("auto", 1), ("CPU", 0)])
def test_a_recipe_that_ends_on_the_cpu_by_default_says_so_loudly(damaged_loader, caplog, target, warnings):
    """The standalone command of an Ascend recipe runs on any machine; on a CPU nobody should wait for its end."""
    config = parse_config(["--device_target", target])
    shape = RunShape(epochs=1, steps_per_epoch=1, global_batch_size=4)
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        training._announce(config, damaged_loader.source, None, shape, ms.nn.Dense(2, 2), Cluster())
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) == warnings
    assert all(
        "so this trains on the CPU" in line and "--device_target CPU says that it is meant" in line for line in loud
    )
