"""Images reach a deployed network as they reach validation."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.loader import build_eval_transform
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.metadata import Metadata
from mindcv_hrnet.recipe.config import parse_config


def metadata(*argv):
    return Metadata.of(parse_config(list(argv)), [])


def encoded(height, width, mode="RGB"):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("argv", [[], ["--in_channels", "1", "--crop_pct", "0.7", "--interpolation", "bicubic"]])
def test_pixels_are_those_of_validation(argv):
    config = parse_config(["--image_resize", "48", *argv])
    preprocess = Preprocessor(Metadata.of(config, []))
    for size in ((50, 70), (300, 201), (20, 33)):
        expected = np.zeros((config.model.in_channels, 48, 48), np.uint8)
        build_eval_transform(config.augmentation)(encoded(*size), expected)
        assert (preprocess(encoded(*size)) == expected).all()
        out = np.zeros_like(expected)
        assert preprocess(encoded(*size), out) is out and (out == expected).all()


def test_normalised_as_on_the_device():
    import mindspore as ms

    from mindcv_hrnet.engine.preprocess import Normalize

    own = metadata("--image_resize", "32")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    normal = Preprocessor(own).normalize(pixels)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal, Normalize(own.mean, own.std)(ms.Tensor(pixels)).asnumpy(), rtol=0, atol=1e-6)
    assert (Preprocessor(own).as_input(pixels) == normal).all()
    assert Preprocessor(replace(own, input_dtype="uint8")).as_input(pixels) is pixels


def test_what_is_no_image():
    with pytest.raises(UnreadableImage):
        Preprocessor(metadata())(b"no image")
