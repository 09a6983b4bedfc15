"""Figures about the answers for a split and the images in it, in NumPy. Imports the engine's predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.engine.predictions import Predictions


class ClassRow(NamedTuple):
    """A class that has images: how many, how many of them were answered right, and its most frequent wrong answer."""

    name: str
    images: int
    correct: int
    mistaken_for: str
    """Empty where all answers were right."""
    mistakes: int
    """Times that it was mistaken for that."""

    @property
    def accuracy(self) -> float:
        """Per cent."""
        return 100.0 * self.correct / self.images


class Pair(NamedTuple):
    """Images of class `label` that were taken for `answer`, and their share, per cent, of all images of `label`."""

    label: str
    answer: str
    times: int
    share: float


class Spread(NamedTuple):
    """How images are spread over the classes."""

    images: int
    classes: int
    """Those that have images."""
    fewest: int
    median: float
    most: int


def class_rows(predictions: Predictions, names: Sequence[str]) -> list[ClassRow]:
    """Classes with images, the lowest accuracy first; of equal ones in the order of the classes."""
    images, correct = predictions.accuracy_of_classes(len(names))
    worst: dict[int, tuple[str, int]] = {}
    for label, answer, count in _mistakes(predictions):
        worst.setdefault(label, (names[answer], count))
    rows = [
        ClassRow(names[k], int(images[k]), int(correct[k]), *worst.get(k, ("", 0)))
        for k in np.flatnonzero(images).tolist()
    ]
    return sorted(rows, key=lambda row: row.correct / row.images)


def confused_pairs(predictions: Predictions, names: Sequence[str], most: int) -> list[Pair]:
    """At most `most` pairs of (class, wrong answer), the most frequent first."""
    images = np.bincount(predictions.labels, minlength=len(names))
    return [
        Pair(names[label], names[answer], count, 100.0 * count / int(images[label]))
        for label, answer, count in _mistakes(predictions)[:most]
    ]


def _mistakes(predictions: Predictions) -> list[tuple[int, int, int]]:
    """(label, answer, count), the most frequent first; only what occurs: a matrix of 20,000 classes is too large."""
    wrong = ~predictions.correct
    pairs = np.stack([predictions.labels[wrong], predictions.classes[wrong, 0]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        (label, answer, count)
        for (label, answer), count in zip(found[order].tolist(), counts[order].tolist(), strict=True)
    ]


def accuracy_among(predictions: Predictions, first: int) -> float | None:
    """Share of images, per cent, whose class is among the `first` likeliest; None where fewer answers are known."""
    if predictions.classes.shape[1] < first:
        return None
    hit = (predictions.classes[:, :first] == predictions.labels[:, None]).any(axis=1)
    return 100.0 * float(hit.mean())


def spread_of(counts: np.ndarray) -> Spread:
    """Of images per class, (classes,) int; classes without images count in `fewest` and `median`."""
    return Spread(
        images=int(counts.sum()),
        classes=int(np.count_nonzero(counts)),
        fewest=int(counts.min()),
        median=float(np.median(counts)),
        most=int(counts.max()),
    )
