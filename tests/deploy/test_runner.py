"""Both formats behind one class: what it takes, what it refuses, and calls from several threads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mindcv_hrnet.deploy.runner import CellModel, Model, load_model
from mindcv_hrnet.errors import UserError


class Doubled(Model):
    """Two outputs, of which the file has a fixed batch of 4; counts what it computes."""

    format = "test"

    def __init__(self, metadata):
        super().__init__(metadata)
        self.batches = []

    def _compute(self, images):
        self.batches.append(len(images))
        return images.mean(axis=(1, 2, 3))[:, None], images[:, :1]


def ones(batch, *shape, dtype=np.float32):
    return np.ones((batch, *(shape or (3, 32, 32))), dtype) * np.arange(batch).reshape(-1, 1, 1, 1).astype(dtype)


def test_a_fixed_batch_takes_any_number(tiny_mindir):
    model = Doubled(replace(tiny_mindir[2], batch_size=4))
    for count, batches in ((1, [4]), (4, [4]), (9, [4, 4, 4])):
        model.batches.clear()
        logits, images = model.maps(ones(count))
        assert logits[:, 0].tolist() == list(range(count)) and len(images) == count and model.batches == batches


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (ones(1, 3, 32, 31), "images are (1, 3, 32, 31) float32; tiny takes (1 or more, 3, 32, 32) float32"),
        (ones(1, 1, 32, 32), "images are (1, 1, 32, 32) float32; tiny takes (1 or more, 3, 32, 32) float32"),
        (ones(0), "images are (0, 3, 32, 32) float32; tiny takes (1 or more, 3, 32, 32) float32"),
        (ones(1)[0], "images are (3, 32, 32) float32; tiny takes (1 or more, 3, 32, 32) float32"),
        (ones(1, dtype=np.uint8), "images are (1, 3, 32, 32) uint8; tiny takes (1 or more, 3, 32, 32) float32"),
    ],
    ids=["side", "channels", "none", "three axes", "type"],
)
def test_other_images_are_refused(tiny_mindir, images, words):
    model = Doubled(tiny_mindir[2])
    with pytest.raises(UserError) as error:
        model(images)
    assert str(error.value) == words and model.batches == []


def test_sides_that_are_open(tiny_mindir):
    model = Doubled(replace(tiny_mindir[2], dynamic_size=True))
    assert model(ones(2, 3, 33, 47)).shape == (2, 1)
    with pytest.raises(UserError, match=r"takes \(1 or more, 3, 32 or more, 32 or more\) float32$"):
        model(ones(2, 3, 33, 31))


def test_a_backbone_has_maps_but_no_logits(tiny_mindir):
    model = Doubled(replace(tiny_mindir[2], outputs=("stride4", "stride8")))
    assert len(model.maps(ones(1))) == 2
    with pytest.raises(UserError, match=r"^this file gives stride4, stride8, not logits; call its maps\(images\)$"):
        model(ones(1))


def test_threads_may_share_a_model(tiny_mindir):
    model = load_model(tiny_mindir[0])
    assert isinstance(model, CellModel)
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal((1 + k % 3, 3, 32, 32), dtype=np.float32) for k in range(12)]
    alone = [model(images) for images in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(model, batches), alone, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
