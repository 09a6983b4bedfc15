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
# What a run is known to write into metrics.csv and steps.csv; another column gets a chart of its own
LINES = {
    "train_loss": Line("Training loss", "Loss", "training"),
    "val_loss": Line("Validation loss", "Loss", "validation"),
    "top1": Line("Top-1", "Accuracy, %", "validation top-1", PERCENT),
    "top5": Line("Top-5", "Accuracy, %", "validation top-5", PERCENT),
    "train_top1": Line("Training top-1", "Accuracy, %", "training top-1", PERCENT),
    "learning_rate": Line("Learning rate", "Learning rate", "learning rate"),
    "images_per_second": Line("Images per second", "Images per second", "training", from_zero=True),
    "seconds": Line("Seconds per epoch", "Seconds per epoch", "training", from_zero=True),
    "data_wait": Line("Waiting for data", "Waiting for data, %", "share of the time", PERCENT, from_zero=True),
}
# The same names mean something else within an epoch
STEP_LINES = {
    "loss": Line("Loss", "Loss", "training"),
    "top1": Line("Training top-1, epoch so far", "Training top-1, epoch so far, %", "training", PERCENT),
    "gradient_norm": Line("Gradient norm", "Gradient norm", "before clipping", from_zero=True),
    "learning_rate": LINES["learning_rate"],
    "loss_scale": Line("Loss scale", "Loss scale", "loss scale"),
    "images_per_second": LINES["images_per_second"],
    "data_wait": LINES["data_wait"],
    "device_memory_gib": Line("Device memory", "Device memory, GiB", "in use", from_zero=True),
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
            f"{line.words}, %" if line.limits == PERCENT else line.words,
            [(run.name, run.epochs, column) for run in runs if column in run.epochs],
            line,
        )
        for column, line in columns.items()
    ]


def step_figures(runs: Sequence[RunRecord]) -> list[Figure]:
    """One chart for each column of steps.csv that changes in one of the runs, a line for each run."""
    columns = dict.fromkeys(name for run in runs for name in run.steps if name not in UNDRAWN)
    order = [name for name in STEP_LINES if name in columns] + [name for name in columns if name not in STEP_LINES]
    figures = []
    for column in order:
        line = STEP_LINES.get(column) or Line(words(column), words(column), words(column).lower())
        there = [run for run in runs if column in run.steps and not np.isnan(run.steps[column]).all()]
        if any(_changes(run.steps[column]) for run in there):
            names = [run.name if len(runs) > 1 else line.name for run in there]
            drawn = [(name, run.steps, column) for name, run in zip(names, there, strict=True)]
            figures.append(_figure(line.title, drawn, line, "step"))
    return figures


def unchanged(columns: Columns) -> list[str]:
    """Columns of steps.csv with one value at every step, as words: "loss scale 1"."""
    same = [name for name in columns if name not in UNDRAWN and not _changes(columns[name])]
    return [
        f"{_in_a_sentence(name)} {number(float(np.nanmax(columns[name])))}"
        for name in same
        if not np.isnan(columns[name]).all()
    ]


def empty(columns: Columns) -> list[str]:
    """Columns without any value, as words."""
    return [_in_a_sentence(name) for name, values in columns.items() if np.isnan(values).all()]


def _in_a_sentence(column: str) -> str:
    name = STEP_LINES[column].words if column in STEP_LINES else words(column)
    return name[0].lower() + name[1:]


def _changes(values: np.ndarray) -> bool:
    there = values[~np.isnan(values)]
    return len(there) > 0 and bool((there != there[0]).any())


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


def _figure(title: str, lines: list[tuple[str, Columns, str]], line: Line, x: str = "epoch") -> Figure:
    series = [
        Series(name, columns[x], columns[column], color)
        for color, (name, columns, column) in enumerate(lines)
        if not np.isnan(columns[column]).all()
    ]
    legend, notes, rows = [], [], "epochs" if x == "epoch" else "rows"
    for each in series:
        there = np.flatnonzero(~np.isnan(each.y))
        legend.append((each.color, each.name, number(float(each.y[there[-1]]))))
        if len(there) < len(each.y):
            notes.append(f"{each.name}: measured in {len(there)} of {len(each.y)} {rows}")
    chart = line_chart(series, title, x, limits=line.limits, from_zero=line.from_zero)
    return Figure(title, chart, legend, "; ".join(notes))
