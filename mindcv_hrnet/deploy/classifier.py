"""Images of any kind in, labels out: a model file with its preprocessing and its labels around it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.prefetch import prepare_process
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.labels import label_names
from mindcv_hrnet.deploy.runner import Model
from mindcv_hrnet.errors import UserError
from mindcv_hrnet.runtime.cores import usable_cores
from mindcv_hrnet.runtime.files import expand_home

Image: TypeAlias = "str | os.PathLike[str] | bytes | np.ndarray"
"""A path, the bytes of an image file, or (H, W, 3) uint8 RGB."""

TOP = 5
BATCH_SIZE = 32
_AHEAD = 2


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first. `error` says why an image has none."""

    image: str
    """Its path; empty for an image that came without one."""
    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    classes: tuple[int, ...] = ()
    """Numbers of the classes, from 0."""
    error: str = ""


class Classifier:
    """`classifier(images)` gives one Prediction for each image, in their order.

    Images are decoded on as many threads as there are cores while the network computes. `batch_size` changes the speed
    alone.
    """

    def __init__(self, model: Model) -> None:
        if not model.metadata.is_classifier:
            outputs = ", ".join(model.metadata.outputs)
            raise UserError(f"the model gives {outputs}, not logits; export a classifier, without export_features")
        self.model = model
        self.preprocess = Preprocessor(model.metadata)

    def __call__(
        self, images: Image | Iterable[Image], *, top: int = TOP, batch_size: int = BATCH_SIZE
    ) -> list[Prediction]:
        """One image or many: paths, encoded bytes or (H, W, 3) uint8 RGB arrays."""
        several = [images] if isinstance(images, (str, os.PathLike, bytes, np.ndarray)) else images
        return list(self.stream(several, top=top, batch_size=batch_size))

    def stream(self, images: Iterable[Image], *, top: int = TOP, batch_size: int = BATCH_SIZE) -> Iterator[Prediction]:
        """The same one by one, while later images are being decoded; the iterable may be endless."""
        prepare_process()
        rest = iter(images)
        waiting: deque[tuple[list[str], list[Future[np.ndarray]]]] = deque()
        with ThreadPoolExecutor(usable_cores()) as pool:
            while chunk := list(islice(rest, batch_size)):
                waiting.append(([_name(image) for image in chunk], [pool.submit(self._pixels, each) for each in chunk]))
                if len(waiting) > _AHEAD:
                    yield from self._answers(*waiting.popleft(), top)
            while waiting:
                yield from self._answers(*waiting.popleft(), top)

    def _pixels(self, image: Image) -> np.ndarray:
        """(C, S, S) uint8. Raises UnreadableImage or OSError."""
        if isinstance(image, np.ndarray):
            return self.preprocess.of_pixels(image)
        return self.preprocess(image if isinstance(image, bytes) else expand_home(image).read_bytes())

    def _answers(self, names: list[str], futures: list[Future[np.ndarray]], top: int) -> Iterator[Prediction]:
        pixels, errors = [], {}
        for row, future in enumerate(futures):
            try:
                pixels.append(future.result())
            except UnreadableImage as error:
                errors[row] = str(error)
            except OSError as error:
                errors[row] = f"it cannot be read ({error.strerror or error})"
        ranked = iter(self._ranked(np.stack(pixels), top) if pixels else ())
        for row, name in enumerate(names):
            if row in errors:
                yield Prediction(name, error=errors[row])
            else:
                classes, probabilities, labels = next(ranked)
                yield Prediction(name, labels, probabilities, classes)

    def _ranked(
        self, pixels: np.ndarray, top: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[float, ...], tuple[str, ...]]]:
        """Classes, probabilities and labels of each image, best first; equal ones in the order of the classes."""
        logits = self.model(self.preprocess.as_input(pixels)).astype(np.float64)
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        labels = label_names(self.model.metadata.class_names, logits.shape[1])
        for row in probabilities:
            best = np.argsort(-row, kind="stable")[:top].tolist()
            yield tuple(best), tuple(row[best].tolist()), tuple(labels[k] for k in best)


def _name(image: Image) -> str:
    return "" if isinstance(image, (bytes, np.ndarray)) else str(Path(image))
