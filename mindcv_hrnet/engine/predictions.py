"""What a network answers for every image of a split, and what follows from it: tables, confusion, calibration."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.errors import DataError, nearest, one_line
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.files import reason_of, write_text

TOP = 5
BINS = 15


class Calibration(NamedTuple):
    """Confidence against accuracy in `BINS` bins of equal width, each (BINS,); NaN where a bin is empty.

    error: the expected calibration error, the mean distance of the two weighted by `counts` (arXiv:1706.04599, eq. 3).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    error: float


@dataclass(frozen=True)
class Predictions:
    """labels (N,) int32. classes (N, k) int32: the k likeliest, best first, with probabilities (N, k) float32.

    label_probability (N,) float32: what the network gives to the image's own class.
    """

    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    label_probability: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool."""
        return self.classes[:, 0] == self.labels

    def accuracy_of_classes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(images, correct ones) of each of `count` classes, (count,) int64 both."""
        images = np.bincount(self.labels, minlength=count)
        return images, np.bincount(self.labels[self.correct], minlength=count)

    def confusion(self, count: int) -> np.ndarray:
        """(count, count) int64: row label, column answer."""
        cells = self.labels.astype(np.int64) * count + self.classes[:, 0]
        return np.bincount(cells, minlength=count * count).reshape(count, count)

    def calibration(self) -> Calibration:
        """How often answers of each confidence are right."""
        confidence = self.probabilities[:, 0].astype(np.float64)
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(place, confidence, BINS) / counts
            accuracy = np.bincount(place, self.correct, BINS) / counts
        error = float(np.nansum(np.abs(mean - accuracy) * counts) / max(counts.sum(), 1))
        return Calibration(mean, accuracy, counts, error)

    def worst(self, count: int) -> np.ndarray:
        """Indices of the most confident wrong answers, at most `count`."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probabilities[wrong, 0], kind="stable")[:count]]

    def write(self, path: Path, source: Source) -> None:
        """A CSV with a row per image: file, class, its probability, and the likeliest classes with theirs."""
        names = source.class_names
        ranks = range(1, self.classes.shape[1] + 1)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(
            ["image", "label", "label_probability", *(f"{key}{k}" for k in ranks for key in ("class", "probability"))]
        )
        for index in range(len(self.labels)):
            answers = zip(self.classes[index], self.probabilities[index], strict=True)
            cells = [cell for k, p in answers for cell in (names[k], f"{p:.6f}")]
            own = f"{self.label_probability[index]:.6f}"
            table.writerow([one_line(source.path(index)), names[self.labels[index]], own, *cells])
        write_text(path, text.getvalue())


class Answered(NamedTuple):
    """What `Predictions.write` has written: the predictions, and the path of each image."""

    predictions: Predictions
    files: list[str]


def read_predictions(path: Path, class_names: Sequence[str]) -> Answered:
    """The CSV of `Predictions.write`, its classes numbered by `class_names`. Raises DataError, naming the line."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is no table of text"
        raise DataError(f"{path}: cannot be read ({reason}); write it with validate --predictions") from None
    top = (len(head) - 3) // 2
    expected = [f"{key}{k}" for k in range(1, top + 1) for key in ("class", "probability")]
    if head != ["image", "label", "label_probability", *expected] or top < 1 or not rows:
        raise DataError(f"{path}: has not the columns and rows of predictions; write it with validate --predictions")
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.zeros(len(rows), np.int32)
    classes = np.zeros((len(rows), top), np.int32)
    probabilities = np.zeros((len(rows), top + 1), np.float32)
    for place, row in enumerate(rows):
        try:
            if len(row) != len(head):
                raise ValueError
            labels[place], *answers = (numbers[name] for name in (row[1], *row[3::2]))
            classes[place], probabilities[place] = answers, [float(cell) for cell in row[2::2]]
        except KeyError as error:
            name = error.args[0]
            raise DataError(
                f"{path}: line {place + 2}: the run has no class '{name}'{nearest(name, class_names)}; "
                "pass the predictions of this run"
            ) from None
        except ValueError:
            raise DataError(
                f"{path}: line {place + 2} is damaged; write it again with validate --predictions"
            ) from None
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(f"{path}: has probabilities outside 0 to 1; write it again with validate --predictions")
    return Answered(Predictions(labels, classes, probabilities[:, 1:], probabilities[:, 0]), [row[0] for row in rows])


class Collector:
    """Fills Predictions batch by batch, on each rank those of its own images."""

    def __init__(self, labels: Sequence[int] | np.ndarray, num_classes: int):
        count, top = len(labels), min(TOP, num_classes)
        self.labels = np.asarray(labels, np.int32)
        self.classes = np.zeros((count, top), np.float32)
        self.probabilities = np.zeros((count, top), np.float32)
        self.label_probability = np.zeros(count, np.float32)

    def add(self, samples: np.ndarray, logits: np.ndarray) -> None:
        """Answers for the samples (n,) of the split: logits (n, K)."""
        probabilities = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.classes.shape[1]]
        self.classes[samples] = best
        self.probabilities[samples] = np.take_along_axis(probabilities, best, 1)
        self.label_probability[samples] = probabilities[np.arange(len(samples)), self.labels[samples]]

    def gather(self, cluster: Cluster) -> Predictions:
        """Those of all ranks; each image was seen by exactly one."""
        own = np.concatenate([self.classes, self.probabilities, self.label_probability[:, None]], 1)
        top = self.classes.shape[1]
        every = sum_over_ranks(own.ravel(), cluster).reshape(own.shape)
        classes = np.rint(every[:, :top]).astype(np.int32)
        return Predictions(self.labels, classes, every[:, top : 2 * top].astype(np.float32), every[:, -1])
