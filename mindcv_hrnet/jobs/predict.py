"""Classify image files with an exported network: the file alone knows its transform and its labels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.errors import DataError
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
    """Classify `images` with the file `model`."""
    runner = load_model(model)
    names, preprocess = runner.metadata.class_names, Preprocessor(runner.metadata)
    predictions = []
    for image in images:
        pixels = read_image(image, preprocess)
        logits = runner(preprocess.as_input(pixels[None]))[0].astype(np.float64)
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = np.argsort(-probabilities, kind="stable")[:top]
        labels = tuple(names[k] if names else str(k) for k in best)
        predictions.append(Prediction(image, labels, tuple(float(probabilities[k]) for k in best)))
    return predictions


def read_image(path: str, preprocess: Preprocessor) -> np.ndarray:
    """(C, S, S) uint8 of one image file. Raises DataError."""
    try:
        return preprocess(expand_home(path).read_bytes())
    except (UnreadableImage, OSError) as error:
        raise DataError(f"{path}: cannot be read as an image ({getattr(error, 'strerror', None) or error})") from None
