"""What the page says of one run, as values for the template: figures as text, tables as rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.deploy.labels import label_names
from mindcv_hrnet.engine.predictions import TOP, Calibration, Predictions
from mindcv_hrnet.report.charts import histogram, number, reliability_chart
from mindcv_hrnet.report.figures import shown_columns, words
from mindcv_hrnet.report.findings import Findings
from mindcv_hrnet.report.pictures import confident_mistakes
from mindcv_hrnet.report.run_files import RunRecord
from mindcv_hrnet.report.statistics import Spread, accuracy_among, class_rows, confused_pairs, spread_of
from mindcv_hrnet.runtime.progress import clock

FEW = 50
"""Up to so many classes each one is shown; of more, the extremes, and the rest on demand."""
NUMBERED = 20
"""Up to so many classes the confusion matrix has numbers in its cells."""
EXTREMES = 15
SHORT_NAME = 4  # characters; longer names stand upright above the columns of the matrix
SHORT, PAIRS, PICTURES = 10, 20, 24
NONE = "\N{EN DASH}"
LEVELS = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Per cent of a class' images above which a cell of the matrix gets the next colour."""


class Headline(NamedTuple):
    """A figure that one wants to know first."""

    name: str
    value: str
    note: str


def results_of(run: RunRecord, findings: Findings) -> dict[str, Any]:
    """A table: a row for each figure, columns for the best and the last epoch, and for what was evaluated now."""
    best, last = run.best_row, len(run.epochs["epoch"]) - 1
    heads = [f"last epoch ({run.epochs['epoch'][last]:.0f})"]
    rows_of = [last]
    if best is not None:
        heads.insert(0, f"best epoch ({run.epochs['epoch'][best]:.0f})")
        rows_of.insert(0, best)
    measured = evaluated(findings)
    shown = shown_columns(run.epochs)
    rows = [(words(name), [figure(name, run.cell(name, row)) for row in rows_of]) for name in shown]
    if measured:
        heads.append("evaluated for this page")
        rows = [(title, [*cells, measured.get(name, "")]) for name, (title, cells) in zip(shown, rows, strict=True)]
    return {"heads": heads, "rows": rows}


def evaluated(findings: Findings) -> dict[str, str]:
    """The same figures of the predictions."""
    if findings.predictions is None:
        return {}
    top1, top5 = (accuracy_among(findings.predictions, first) for first in (1, TOP))
    values = {"top1": top1, "top5": top5 if findings.predictions.classes.max() >= TOP else None}
    return {
        name: figure(name, value) for name, value in {**values, "val_loss": findings.loss}.items() if value is not None
    }


def figure(column: str, value: float | None) -> str:
    """A number as its column wants it; a dash where there is none."""
    if value is None:
        return NONE
    if "top1" in column or "top5" in column or column == "data_wait":
        return f"{value:.2f} %"
    return clock(value) if column == "seconds" and value >= 60 else number(value)


def tiles_of(run: RunRecord, findings: Findings) -> list[Headline]:
    """The first line of a chapter."""
    best, epochs = run.best_row, run.epochs["epoch"]
    place = "no epoch was validated" if best is None else f"epoch {epochs[best]:.0f} of {run.config.train.epoch_size}"
    tiles = [Headline("Best top-1", figure("top1", run.cell("top1", best)), place)]
    if run.cell("top5", best) is not None:
        tiles.append(Headline("Top-5", figure("top5", run.cell("top5", best)), "in that epoch"))
    if run.cell("val_loss", best) is not None:
        tiles.append(Headline("Validation loss", figure("val_loss", run.cell("val_loss", best)), "in that epoch"))
    if findings.predictions is not None:
        error = findings.predictions.calibration().error
        tiles.append(Headline("Calibration error", f"{100 * error:.2f} %", "expected (ECE), best weights"))
    speed = speed_of(run)
    if speed:
        tiles.append(Headline("Training", speed["total"], f"{len(epochs)} epochs, without validation"))
        tiles.append(Headline("Speed", speed["median"], "images/s, median epoch"))
    return tiles


def speed_of(run: RunRecord) -> dict[str, str]:
    """Figures of speed by name; empty where metrics.csv has none."""
    found = {}
    per_second, seconds = (run.epochs.get(name, np.zeros(0)) for name in ("images_per_second", "seconds"))
    per_second, seconds = per_second[~np.isnan(per_second)], seconds[~np.isnan(seconds)]
    if not len(per_second) or not len(seconds):
        return {}
    found["median"], found["fastest"] = number(float(np.median(per_second))), number(float(per_second.max()))
    found["total"] = clock(float(seconds.sum()))
    found["epoch"] = seconds_text(float(np.median(seconds)))
    found["longest"] = seconds_text(float(seconds.max()))
    return found


def seconds_text(seconds: float) -> str:
    """3.2 s, or 0:05:20."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def speed_rows(run: RunRecord) -> list[tuple[str, str]]:
    """Figures of speed, with the sizes that they belong to."""
    speed, rows = speed_of(run), []
    if speed:
        rows += [
            ("Images per second", f"{speed['median']} (median epoch), {speed['fastest']} (fastest)"),
            ("Time per epoch", f"{speed['epoch']} (median), {speed['longest']} (longest)"),
            ("All epochs", f"{speed['total']}, without validation and saving"),
        ]
    waits = [name for name in run.epochs if "wait" in name and not np.isnan(run.epochs[name]).all()]
    rows += [(words(name), f"{figure(name, float(np.nanmedian(run.epochs[name])))} (median epoch)") for name in waits]
    skipped = run.epochs.get("skipped_updates")
    if skipped is not None:
        rows.append(("Skipped updates", f"{np.nansum(skipped):,.0f}"))
    if run.manifest.states:
        state = run.manifest.states[-1]
        rows += [
            ("Steps per epoch", f"{state.steps_per_epoch:,}"),
            ("Global batch", f"{state.global_batch_size:,} on {state.ranks} rank{'s' if state.ranks > 1 else ''}"),
        ]
    return rows


def classes_of(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy of each class, lowest first; of more than `FEW`, the extremes and a picture of all."""
    rows = class_rows(predictions, names)
    context: dict[str, Any] = {"rows": rows, "without": len(names) - len(rows)}
    if len(rows) > FEW:
        accuracies = np.array([row.accuracy for row in rows])
        context["lowest"], context["highest"] = rows[:EXTREMES], rows[-EXTREMES:][::-1]
        context["chart"] = histogram(
            accuracies, np.linspace(0, 100, 21), "Accuracy of classes", "accuracy, %", "classes"
        )
        context["median"] = float(np.median(accuracies))
    return context


class Cell(NamedTuple):
    """A cell of the confusion matrix: its number, its colour from 0 (none) to 5, or "own" on the diagonal."""

    images: int
    level: str
    said: str


def confusion_of(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """The most confused pairs, and the matrix where it can be read."""
    most = SHORT if len(names) <= NUMBERED else PAIRS
    context: dict[str, Any] = {
        "pairs": confused_pairs(predictions, names, most),
        "wrong": int((~predictions.correct).sum()),
    }
    if len(names) > FEW:
        return context
    counts, context["matrix"] = predictions.confusion(len(names)), []
    for label, row in enumerate(counts.tolist()):
        total = max(sum(row), 1)
        cells = [
            Cell(
                count,
                "own" if answer == label else str(sum(100 * count / total > level for level in LEVELS)),
                f"{names[label]} taken for {names[answer]}: {count} of {sum(row)}",
            )
            for answer, count in enumerate(row)
        ]
        context["matrix"].append((names[label], cells))
    context["upright"] = max(map(len, names)) > SHORT_NAME
    context["numbered"] = len(names) <= NUMBERED
    return context


def calibration_of(predictions: Predictions) -> dict[str, Any]:
    """The reliability diagram and the figures that it draws."""
    found = predictions.calibration()
    confidence = 100 * float(predictions.probabilities[:, 0].astype(np.float64).mean())
    accuracy = 100 * float(predictions.correct.mean())
    return {
        "chart": reliability_chart(found, "Reliability diagram"),
        "error": 100 * found.error,
        "confidence": confidence,
        "accuracy": accuracy,
        "bins": _bins(found),
    }


def _bins(found: Calibration) -> list[tuple[str, int, float, float]]:
    size = len(found.counts)
    return [
        (
            f"{k / size:.2f} to {(k + 1) / size:.2f}",
            int(found.counts[k]),
            float(found.confidence[k]),
            float(found.accuracy[k]),
        )
        for k in range(size)
        if found.counts[k]
    ]


class SplitRow(NamedTuple):
    """The images of a split, its place, and how they are spread; `counts` is (classes,)."""

    what: str
    root: str
    counts: np.ndarray
    spread: Spread
    chart: Markup | None


def data_of(findings: Findings, names: Sequence[str]) -> dict[str, Any]:
    """Images per class of both splits."""
    splits = [
        _split(what, source, len(names))
        for what, source in (("training", findings.training), ("validation", findings.validation))
        if source is not None
    ]
    most = max((split.spread.most for split in splits), default=1)
    context: dict[str, Any] = {"splits": splits, "most": most}
    if splits and len(names) <= FEW:
        context["rows"] = [(name, [int(split.counts[k]) for split in splits]) for k, name in enumerate(names)]
    elif splits:
        order = np.argsort(splits[0].counts, kind="stable")[:EXTREMES]
        context["fewest"] = [(names[k], [int(split.counts[k]) for split in splits]) for k in order]
    return context


def _split(what: str, source: Source, classes: int) -> SplitRow:
    counts = np.bincount(source.labels, minlength=classes)
    chart = None
    if classes > FEW:
        low, high = int(counts.min()), int(counts.max())
        edges = np.linspace(low, max(high, low + 1), min(30, max(high - low, 1)) + 1)
        chart = histogram(counts, edges, f"Images per class, {what}", "images of the class", "classes")
    return SplitRow(what, source.root, counts, spread_of(counts), chart)


def answers_of(run: RunRecord, findings: Findings) -> dict[str, Any] | None:
    """Everything that follows from the predictions; None where there are none."""
    predictions = findings.predictions
    if predictions is None:
        return None
    names = labels_of(run)
    return {
        "classes": classes_of(predictions, names),
        "confusion": confusion_of(predictions, names),
        "calibration": calibration_of(predictions),
        "mistakes": confident_mistakes(predictions, names, findings.files, findings.validation, PICTURES),
    }


def labels_of(run: RunRecord) -> tuple[str, ...]:
    """What the run's classes are called, in words where they have WordNet's numbers."""
    return label_names(tuple(run.manifest.class_names), len(run.manifest.class_names))
