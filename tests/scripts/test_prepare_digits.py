import runpy

import numpy as np
import pytest
from PIL import Image
from repository import SCRIPTS

from mindcv_hrnet.data.sources.split import open_split

SCRIPT = SCRIPTS / "prepare_digits.py"


@pytest.fixture(scope="module")
def write_digits():
    return runpy.run_path(str(SCRIPT))["write_digits"]


def test_digits_become_a_folder_that_loads(write_digits, tmp_path):
    out = tmp_path / "deep" / "digits"
    assert write_digits(out) == {"train": 1437, "val": 360}
    train = open_split(str(out), "train")
    val = open_split(str(out), "val", train.class_names)
    assert train.class_names == tuple("0123456789")
    assert np.bincount(val.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    image = Image.open(val.path(0))
    assert (image.size, image.mode) == ((32, 32), "L") and np.asarray(image).max() > 200
    assert [path.name for path in out.parent.iterdir()] == ["digits"]


def test_a_finished_folder_is_left_alone(write_digits, tmp_path):
    for name in ("train/0/x.png", "val/0/y.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert write_digits(tmp_path) == {"train": 1, "val": 1}
