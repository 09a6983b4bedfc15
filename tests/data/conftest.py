import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig


@pytest.fixture(scope="session")
def photos():
    """Two photographs, (427, 640, 3) uint8 RGB: a temple and a flower."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_sample_images

        return [np.array(image) for image in load_sample_images().images]


@pytest.fixture
def image(photos):
    """The temple, (224, 224, 3)."""
    return cv2.resize(photos[0], (224, 224), interpolation=cv2.INTER_AREA)


def encode(image, fmt="JPEG", **options):
    """Bytes of an image file; `image` is an array or a Pillow image."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.fixture
def encoded():
    return encode


def write_folder(root, counts, side=40):
    """`root/<class>/<number>.jpg`: counts[class] images, each of one colour that tells class and number."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = np.empty((side, side + 8, 3), np.uint8)
            image[:] = (60 * label, 5 * number % 256, 128)
            image[: side // 2] += 20
            (root / name / f"{number:03d}.jpg").write_bytes(encode(image, quality=95))
    return root


@pytest.fixture
def folder(tmp_path):
    """A function that writes an image folder below a fresh temporary directory and returns its path."""
    return lambda counts, name="train", **kwargs: write_folder(tmp_path / name, counts, **kwargs)


@pytest.fixture
def cores(monkeypatch):
    """As many cores as a test asks for."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(16), raising=False)


@pytest.fixture
def sections():
    """A function (key=value, ...) -> (DataConfig, AugmentationConfig) with small images and two threads."""

    def build(**values):
        data = {key: values.pop(key) for key in list(values) if key in DataConfig.__dataclass_fields__}
        data = {"batch_size": 4, "num_parallel_workers": 2, **data}
        return DataConfig(**data), AugmentationConfig(**{"image_resize": 32, **values})

    return build
