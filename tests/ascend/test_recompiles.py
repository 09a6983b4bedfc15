"""A run compiles its graphs in the first epoch and none after it: on Ascend each takes minutes."""

import numpy as np
import pytest
from mindspore.common.api import _CellGraphExecutor
from observables import sketched
from PIL import Image

from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.recipe.config import parse_config

SETTINGS = "--device_target CPU --mode 0 --compile_cache False --batch_size 4 --image_resize 32 --warmup_epochs 0"


@pytest.fixture
def compiled(monkeypatch):
    """The names of the cells that were compiled, in order."""
    names, compile_one = [], _CellGraphExecutor.compile

    def compile_and_note(self, obj, *args, **kwargs):
        phase, anew = compile_one(self, obj, *args, **kwargs)
        if anew:
            names.append(type(obj).__name__)
        return phase, anew

    monkeypatch.setattr(_CellGraphExecutor, "compile", compile_and_note)
    return names


@pytest.fixture
def images(tmp_path):
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"):
            file = tmp_path / "images" / split / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    return tmp_path / "images"


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 10])
@pytest.mark.parametrize("extras", [[], ["--ema", "True", "--gradient_accumulation_steps", "2"]], ids=["plain", "ema"])
def test_epochs_share_the_graphs_of_the_first(pynative, compiled, images, tmp_path, epochs, extras):
    """One graph to train with, one to validate with, whatever the number of epochs and updates left over."""
    run = ["--data_dir", str(images), "--ckpt_save_dir", str(tmp_path / "run"), "--num_samples", "5"]
    length = ["--epoch_size", str(epochs), "--decay_epochs", str(epochs)]
    settings = [*SETTINGS.split(), "--drop_remainder", "False", "--val_while_train", "True"]
    config = parse_config([*settings, *run, *extras, *length])
    with sketched():
        train(config)
    assert compiled == ["TrainStep", "EvalStep"]
