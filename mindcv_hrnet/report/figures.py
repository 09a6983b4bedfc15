"""The charts of a run, and of several runs over each other, from the columns that their files have."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from mindcv_hrnet.report.charts import Series, line_chart, number
from mindcv_hrnet.report.run_files import Columns, RunRecord


class Figure(NamedTuple):
    """A chart with its legend: (colour, name, last value) of each line. `note`: what it does not show."""

    title: str
    chart: Markup
    legend: list[tuple[int, str, str]]
    note: str


class Line(NamedTuple):
    """A column of metrics.csv: what it is called, the chart that it belongs to and its name there, and the y axis."""

    words: str
    title: str
    name: str
    limits: tuple[float, float] | None = None
    from_zero: bool = False


PERCENT = (0.0, 100.0)
# What a run is known to write; another column gets a chart of its own
LINES = {
    "train_loss": Line("Training loss", "Loss", "training"),
    "val_loss": Line("Validation loss", "Loss", "validation"),
    "top1": Line("Top-1", "Accuracy, %", "validation top-1", PERCENT),
    "top5": Line("Top-5", "Accuracy, %", "validation top-5", PERCENT),
    "train_top1": Line("Training top-1", "Accuracy, %", "training top-1", PERCENT),
    "learning_rate": Line("Learning rate", "Learning rate", "learning rate"),
    "images_per_second": Line("Images per second", "Images per second", "training", from_zero=True),
    "seconds": Line("Seconds per epoch", "Seconds per epoch", "training", from_zero=True),
}
UNDRAWN = ("epoch", "step")


def figures_of(run: RunRecord) -> list[Figure]:
    """One chart for each title, its lines in the order of the columns."""
    charts: dict[str, list[tuple[str, Line]]] = {}
    for column, line in _lines(run.epochs):
        charts.setdefault(line.title, []).append((column, line))
    return [
        _figure(title, [(line.name, run.epochs, column) for column, line in lines], lines[0][1])
        for title, lines in charts.items()
    ]


def figures_of_all(runs: Sequence[RunRecord]) -> list[Figure]:
    """One chart for each column that one of the runs has, a line for each run."""
    columns = {column: line for run in runs for column, line in _lines(run.epochs)}
    return [
        _figure(
            line.words if line.limits is None else f"{line.words}, %",
            [(run.name, run.epochs, column) for run in runs if column in run.epochs],
            line,
        )
        for column, line in columns.items()
    ]


def _lines(columns: Columns) -> list[tuple[str, Line]]:
    """Columns with something to see, in the order of `shown_columns`."""
    drawn = [name for name in shown_columns(columns) if name in LINES or np.any(columns[name])]
    return [(name, LINES.get(name) or Line(words(name), words(name), words(name).lower())) for name in drawn]


def shown_columns(columns: Columns) -> list[str]:
    """Columns that have values: those that are known, then the others."""
    order = [name for name in LINES if name in columns] + [name for name in columns if name not in LINES]
    return [name for name in order if name not in UNDRAWN and not np.isnan(columns[name]).all()]


def words(column: str) -> str:
    """What a column is called."""
    return LINES[column].words if column in LINES else column.replace("_", " ").capitalize()


def _figure(title: str, lines: list[tuple[str, Columns, str]], line: Line) -> Figure:
    series = [
        Series(name, columns["epoch"], columns[column], color)
        for color, (name, columns, column) in enumerate(lines)
        if not np.isnan(columns[column]).all()
    ]
    legend, notes = [], []
    for each in series:
        there = np.flatnonzero(~np.isnan(each.y))
        legend.append((each.color, each.name, number(float(each.y[there[-1]]))))
        if len(there) < len(each.y):
            notes.append(f"{each.name}: measured in {len(there)} of {len(each.y)} epochs")
    chart = line_chart(series, title, "epoch", limits=line.limits, from_zero=line.from_zero)
    return Figure(title, chart, legend, "; ".join(notes))
