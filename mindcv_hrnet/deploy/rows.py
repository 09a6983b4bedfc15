"""Predictions as text: a table to read, CSV, JSON, or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mindcv_hrnet.deploy.classifier import Prediction

WIDEST_NAME, WIDEST_LABEL = 60, 24

Lines = Iterator[str]


def table(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Lines:
    """`image: label 0.9876  label 0.0123`; `names` are all images, to which the column is fitted."""
    column = min(WIDEST_NAME, max((len(name) for name in names), default=0)) + 1
    widths = [0] * top
    for each in predictions:
        start = f"{each.image + ':':<{column}} "
        if each.error:
            yield f"{start}error: {each.error}"
            continue
        # a column is as wide as its widest label so far: nothing waits for the last image
        widths = [min(WIDEST_LABEL, max(pair)) for pair in zip(widths, map(len, each.labels), strict=False)]
        pairs = zip(each.labels, each.probabilities, widths, strict=True)
        yield start + "  ".join(f"{label:<{width}} {probability:.4f}" for label, probability, width in pairs)


def comma_separated(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Lines:
    """A header, then one row for each image: its path, label and probability of each rank, its error."""
    ranks = [f"{what}{rank}" for rank in range(1, top + 1) for what in ("label", "probability")]
    yield _row(["image", *ranks, "error"])
    for each in predictions:
        cells = [
            cell for pair in zip(each.labels, each.probabilities, strict=True) for cell in (pair[0], f"{pair[1]:.6f}")
        ]
        yield _row([each.image, *cells, *[""] * (2 * top - len(cells)), each.error])


def json_lines(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Lines:
    """One JSON object for each image."""
    for each in predictions:
        yield json.dumps(as_json(each), ensure_ascii=False)


def json_array(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Lines:
    """One JSON array, an image a line."""
    yield "["
    before = ""
    for each in predictions:
        if before:
            yield f"{before},"
        before = f"  {json.dumps(as_json(each), ensure_ascii=False)}"
    yield f"{before}\n]" if before else "]"


def as_json(prediction: Prediction) -> dict[str, Any]:
    """`{"image", "predictions": [{"class", "label", "probability"}, ...]}`, or an `error` in place of these."""
    if prediction.error:
        return {"image": prediction.image, "error": prediction.error}
    ranked = zip(prediction.classes, prediction.labels, prediction.probabilities, strict=True)
    rows = [{"class": k, "label": label, "probability": round(p, 6)} for k, label, p in ranked]
    return {"image": prediction.image, "predictions": rows}


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


FORMATS: dict[str, Callable[[Iterable[Prediction], Sequence[str], int], Lines]] = {
    "table": table,
    "csv": comma_separated,
    "json": json_array,
    "jsonl": json_lines,
}
