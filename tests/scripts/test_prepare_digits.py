"""scripts/prepare_digits.py, and what it shares with scripts/prepare_mnist.py."""

import gzip
import importlib.util
from types import SimpleNamespace

import numpy as np
import prepare_digits
import prepare_mnist
import pytest
from image_folder import write_folder
from PIL import Image

from mindcv_hrnet.data.sources.open_split import open_split


def write_digits(out):
    return write_folder(out, prepare_digits.samples)


def test_digits_become_a_folder_that_loads(tmp_path):
    out = tmp_path / "deep" / "digits"
    assert write_digits(out) == {"train": 1437, "val": 360}
    train = open_split(str(out), "train")
    val = open_split(str(out), "val", train.class_names)
    assert train.class_names == tuple("0123456789")
    assert np.bincount(val.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    image = Image.open(val.path(0))
    assert (image.size, image.mode) == ((32, 32), "L") and np.asarray(image).max() > 200
    assert [path.name for path in out.parent.iterdir()] == ["digits"]


def test_a_finished_folder_is_left_alone(tmp_path):
    for name in ("train/0/x.png", "val/0/y.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert write_digits(tmp_path) == {"train": 1, "val": 1}


def test_a_run_that_breaks_off_leaves_no_half_data_set(tmp_path):
    def samples():
        yield from list(prepare_digits.samples())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "digits", samples)
    assert not (tmp_path / "digits").exists()
    assert write_digits(tmp_path / "digits") == {"train": 1437, "val": 360}
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_mnist_is_read_out_of_the_package(tmp_path, monkeypatch):
    """A package of the same structure, with ten digits."""
    (tmp_path / "data/data").mkdir(parents=True)
    with gzip.open(tmp_path / prepare_mnist.DATA, "wt") as file:
        file.writelines(",".join(map(str, [number] * 784 + [number])) + "\n" for number in range(10))
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert write_folder(tmp_path / "out", prepare_mnist.samples) == {"train": 9, "val": 1}
    image = np.asarray(Image.open(tmp_path / "out/val/9/0009.png"))
    assert image.shape == (32, 32) and image[1].max() == 0 and image[2, 2] == 9
