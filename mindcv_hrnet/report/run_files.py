"""What a run folder says of its run: recipe, epochs, steps, starts. Read with suspicion, because users edit files."""

import csv
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mindcv_hrnet.engine.history import recorded_recipe
from mindcv_hrnet.engine.run_folder import HISTORY, METRICS, RECIPE, STEPS
from mindcv_hrnet.errors import CheckpointError, ConfigError, RunError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.weights.manifest import MANIFEST, Checkpoint, Manifest

logger = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]
"""Name of a column -> its numbers, (rows,) float64, NaN where a cell is empty."""


@dataclass(frozen=True)
class RunRecord:
    """A run with at least one finished epoch."""

    folder: Path
    name: str
    """Of the folder, with as many of its parents as tell it from the other runs."""
    manifest: Manifest
    config: Config
    epochs: Columns
    """metrics.csv, in the order of the epochs."""
    starts: list[dict[str, Any]]
    """history.jsonl, the oldest start first."""
    steps: Columns
    """steps.csv, in the order of the steps; empty where the run has none."""
    remarks: list[str] = field(default_factory=list)
    """What is missing or damaged beside that."""

    @property
    def weights(self) -> Checkpoint:
        """What the run stands for."""
        return self.manifest.weights

    @property
    def best_row(self) -> int | None:
        """Row of `epochs` with the highest top-1; the earliest of several. None where no epoch was validated."""
        top1 = self.epochs.get("top1", np.zeros(0))
        return None if np.isnan(top1).all() else int(np.nanargmax(top1))

    def cell(self, column: str, row: int | None) -> float | None:
        """A number of `epochs`, None where there is none."""
        if row is None or column not in self.epochs:
            return None
        value = float(self.epochs[column][row])
        return None if math.isnan(value) else value


def read_runs(folders: Sequence[str]) -> list[RunRecord]:
    """The runs in these folders, all of one model. Raises CheckpointError, RunError, ConfigError."""
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("command line: a run folder is named twice; name each run once")
    runs = [read_run(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]
    for run in runs[1:]:
        if run.manifest.model != runs[0].manifest.model:
            raise ConfigError(
                f"{run.folder}: is a run of {run.manifest.model}, {runs[0].folder} one of {runs[0].manifest.model}; "
                "compare runs of one model, or report on each by itself"
            )
    return runs


def read_run(folder: Path, name: str) -> RunRecord:
    """Everything in the folder but the weights. Raises CheckpointError where there is no run, RunError for the rest."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; pass the folder of a run")
    manifest = Manifest.read(folder)
    if manifest is None:
        raise CheckpointError(f"{folder}: has no {MANIFEST}; pass the folder of a run that has saved something")
    if not manifest.checkpoints or not (folder / METRICS).is_file():
        raise RunError(f"{folder}: the run has not finished an epoch yet, so there is nothing to report")
    config = recorded_recipe(folder)
    if config is None:
        raise RunError(f"{folder}: has no {RECIPE}, which says what was run; restore it")
    remarks: list[str] = []
    steps = read_columns(folder / STEPS, "step") if (folder / STEPS).is_file() else {}
    starts = _read_history(folder / HISTORY, remarks)
    return RunRecord(folder, name, manifest, config, read_columns(folder / METRICS, "epoch"), starts, steps, remarks)


def read_columns(path: Path, key: str) -> Columns:
    """The columns of a CSV of numbers, its rows sorted by `key`. RunError, with the line, where it is no such file."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        if key not in head or not rows:
            raise ValueError(f"no column '{key}'" if rows else "no row")
        table = np.full((len(rows), len(head)), np.nan)
        for place, row in enumerate(rows):
            if len(row) != len(head):
                raise ValueError(f"line {place + 2} has {len(row)} cells, not {len(head)}")
            for column, cell in enumerate(row):
                table[place, column] = _number(cell, f"line {place + 2}, {head[column]}")
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: not the metrics of a run ({reason_of(error)}); restore the file") from None
    keys = table[:, head.index(key)]
    if np.isnan(keys).any() or len(np.unique(keys)) < len(keys):
        raise RunError(f"{path}: not the metrics of a run ({key}s are missing or stand twice); restore the file")
    table = table[np.argsort(keys)]
    return {name: table[:, column] for column, name in enumerate(head)}


def _number(cell: str, where: str) -> float:
    if not cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{where}: '{cell[:40]}' is no number") from None
    return value if math.isfinite(value) else math.nan


def _read_history(path: Path, remarks: list[str]) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        remarks.append(f"{path.name} cannot be read ({reason_of(error)}): starts and versions are not known.")
        return []
    starts = []
    for number, line in enumerate(lines, start=1):
        try:
            start = json.loads(line)
        except (ValueError, RecursionError):
            start = None
        if isinstance(start, dict):
            starts.append(start)
        else:
            remarks.append(f"Line {number} of {path.name} is damaged, and left out.")
    return starts


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Names of folders with as few parents as keep them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names
