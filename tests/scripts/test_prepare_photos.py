"""Photographs become tiles that do not overlap."""

import numpy as np
import skimage.data
from PIL import Image
from prepare_photos import write_tiles


def test_tiles_make_up_the_photographs(tmp_path):
    assert write_tiles(tmp_path, side=128) == 48
    for name in ("brick", "grass", "gravel"):
        rows = [[np.asarray(Image.open(tmp_path / name / f"{y}-{x}.png")) for x in range(4)] for y in range(4)]
        np.testing.assert_array_equal(np.block(rows), getattr(skimage.data, name)())
