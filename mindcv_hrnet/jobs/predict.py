"""Classify image files with an exported network: the file alone knows its transform and its labels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.transforms import EvalTransform, interpolation
from mindcv_hrnet.deploy.mindir import Metadata, load_mindir
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.distributed import connect
from mindcv_hrnet.runtime.files import expand_home

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first, with probabilities that sum to at most 1."""

    image: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def __str__(self) -> str:
        ranked = (
            f"{label} {probability:.4f}" for label, probability in zip(self.labels, self.probabilities, strict=True)
        )
        return f"{self.image}: " + "  ".join(ranked)


def predict(model: str, images: Sequence[str], top: int = 5) -> list[Prediction]:
    """Classify `images` with the MINDIR file `model`."""
    connect()
    graph, metadata = load_mindir(expand_home(model))
    names = metadata.class_names
    predictions = []
    for image in images:
        logits = graph(Tensor(read_image(image, metadata)[None])).asnumpy()[0].astype(np.float64)
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = np.argsort(-probabilities, kind="stable")[:top]
        labels = tuple(names[k] if names else str(k) for k in best)
        predictions.append(Prediction(image, labels, tuple(float(probabilities[k]) for k in best)))
    return predictions


def read_image(path: str, metadata: Metadata) -> np.ndarray:
    """The network's input for one image file, (C, S, S) float32. Raises DataError."""
    size, channels = metadata.image_resize, metadata.in_channels
    pixels = np.empty((channels, size, size), np.uint8)
    transform = EvalTransform(size, metadata.crop_pct, interpolation(metadata.interpolation).pillow)
    try:
        transform(expand_home(path).read_bytes(), pixels)
    except (UnreadableImage, OSError) as error:
        raise DataError(f"{path}: cannot be read as an image ({getattr(error, 'strerror', None) or error})") from None
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (metadata.mean, metadata.std))
    return (pixels.astype(np.float32) - mean) / std
