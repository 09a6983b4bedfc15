"""steps.csv: a row every `log_interval` steps."""

import logging
from dataclasses import fields
from pathlib import Path

from mindcv_hrnet.engine.rows import StepRow, cells
from mindcv_hrnet.engine.trackers.tracker import Tracker
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.files import reason_of, write_text

logger = logging.getLogger(__name__)

COLUMNS = [field.name for field in fields(StepRow)]
HEADER = ",".join(COLUMNS) + "\n"


class StepFile(Tracker):
    """Appends rows. A run that goes on after `first_step` keeps those up to there, and whole ones only.

    Rows that the disk refuses are written with the next one. `told`: the last step of the file as it was found.
    """

    def __init__(self, path: Path, first_step: int):
        self.path, self._waiting, self.told = path, "", 0
        if path.exists():
            rows = _rows(path)
            self.told = max(rows, default=0)
            write_text(path, HEADER + "".join(row for step, row in rows.items() if step <= first_step))

    def step(self, row: StepRow) -> None:
        """Append it, by one write of the system."""
        before = self._waiting
        self._waiting += ",".join(cells(row).values()) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(self._waiting if file.tell() else HEADER + self._waiting)
            self._waiting = ""
        except OSError as error:
            if not before:
                logger.warning("%s: cannot be written (%s); tried again with the next row", self.path, error.strerror)


def _rows(path: Path) -> dict[int, str]:
    """The whole lines by their step. RunError where the file is no step file."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True) or [HEADER]
        if header != HEADER:
            raise ValueError("other columns")
        # the last line may have been cut off
        whole = [line for line in lines if line.endswith("\n") and line.count(",") == HEADER.count(",")]
        return {int(line.split(",")[1]): line for line in whole}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not the steps of a run ({reason_of(error)}); remove the file") from None
