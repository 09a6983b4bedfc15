"""What tracking services have in common: a run there that goes on when the run here does, and is told nothing twice."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from mindcv_hrnet.engine.rows import EpochRow, StepRow
from mindcv_hrnet.engine.trackers.tracker import Start, Tracker, scalars
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.files import first_line_of, reason_of, write_json

PROJECT = "mindcv-hrnet"
FILE = "tracker.json"


class TrackingService(Tracker):
    """A run of a service, whose number there is kept in the run folder. RunError where the service cannot be had."""

    package: ClassVar[str]

    def __init__(self, start: Start, folder: Path):
        known = _known(folder / FILE, self.package) if start.first_step else ""
        self.told = start.told if known else 0
        try:
            self.id = self.begin(start, folder, known)
        except Exception as error:
            reason = first_line_of(error).rstrip(". ")
            raise RunError(f"tracker {self.package}: {reason}; see docs/monitoring.md") from error
        write_json(folder / FILE, {"tracker": self.package, "id": self.id})

    def begin(self, start: Start, folder: Path, known: str) -> str:
        """Open the run of the number `known`, or where it is empty another; returns its number."""
        raise NotImplementedError

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves."""
        raise NotImplementedError

    def step(self, row: StepRow) -> None:
        """Tell it, unless an earlier process has."""
        if row.step > self.told:
            self.log(scalars(row), row.step)

    def epoch(self, row: EpochRow) -> None:
        """Tell it, unless an earlier process has, which then had gone on with the next epoch."""
        if row.step >= self.told:
            self.log(scalars(row), row.step)


def _known(path: Path, package: str) -> str:
    """The number of the run there; empty where another service, or none, was told."""
    if not path.is_file():
        return ""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return str(noted["id"]) if noted["tracker"] == package else ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not the note of a tracker ({reason_of(error)}); remove the file") from None
