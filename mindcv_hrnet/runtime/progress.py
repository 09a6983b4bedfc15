"""The terminal: bars where a person watches, and lines that never land on a bar."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import IO, Any, NamedTuple

from tqdm import tqdm

from mindcv_hrnet.errors import one_line
from mindcv_hrnet.runtime.distributed import Cluster

WIDEST_BAR, SHORTEST_BAR = 20, 4


class BarText(NamedTuple):
    """A word or two behind a bar. Where the terminal is narrow those of the highest `rank` are left out first."""

    text: str
    rank: int = 0


class Bar(tqdm):
    """A tqdm bar with fields behind it; the bar itself takes the room that is left."""

    fields: Sequence[BarText] = ()

    def show(self, fields: Sequence[BarText]) -> None:
        """Have these fields behind the bar from the next drawing on."""
        self.fields = fields

    @property
    def format_dict(self) -> Any:
        """What tqdm draws from."""
        values = super().format_dict
        if self.fields:
            words = f"{values['prefix']}  {values['n']}/{values['total']}"
            texts, length = fitting(self.fields, (values["ncols"] or 80) - len(words) - 1)
            values["bar_format"] = f"{{desc}} {{bar:{length}}} {{n_fmt}}/{{total_fmt}}{''.join(texts)}"
        return values


def fitting(fields: Sequence[BarText], room: int) -> tuple[list[str], int]:
    """The fields, each with two blanks before it, that fit into `room` beside a bar, and the length of that bar."""
    kept = list(fields)
    while kept and sum(len(field.text) + 2 for field in kept) + SHORTEST_BAR > room:
        kept.remove(max(reversed(kept), key=lambda field: field.rank))
    texts = [f"  {field.text}" for field in kept]
    return texts, max(SHORTEST_BAR, min(WIDEST_BAR, room - sum(map(len, texts))))


def progress_bar(total: int, label: str, cluster: Cluster, done: int = 0, unit: str = "step") -> Bar:
    """A bar on the main rank's terminal, which begins at `done`; a silent one elsewhere."""
    hidden = not (cluster.is_main and sys.stderr.isatty())
    return Bar(total=total, initial=done, desc=label, disable=hidden, leave=False, dynamic_ncols=True, unit=unit)


class LinesAboveBars(logging.StreamHandler):
    """Writes each log line, from whatever thread, above the bars that are there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the bars away, write, and put them up again."""
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def say_above_bars(message: str, stream: IO[str]) -> None:
    """One line that is no log line, if anybody reads: of a launcher that has ended, the stream is a broken pipe."""
    with suppress(OSError), tqdm.external_write_mode(file=stream):
        print(message, file=stream, flush=True)


class OneLine(logging.Formatter):
    """Names of files with a line break or broken bytes in them stay on their line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """As the format says, on one line."""
        return one_line(super().formatMessage(record))


class JsonLine(logging.Formatter):
    """A JSON object a line, for machines: the `event` of a record (see `event`), or a notice with its text."""

    def __init__(self, rank: int = 0):
        super().__init__()
        self.rank = rank

    def format(self, record: logging.LogRecord) -> str:
        """{"kind": ..., "time": ..., ...}; numbers that are not finite are null, as JSON has none."""
        told = getattr(record, "event", None) or {
            "kind": "notice",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        whose = {"rank": self.rank} if self.rank else {}
        values = {"kind": told["kind"], "time": when, **whose, **told}
        return json.dumps({name: value if _is_json(value) else None for name, value in values.items()})


def event(kind: str, **values: Any) -> dict[str, Any]:
    """What a log call takes as `extra` where its line has numbers: the same for machines."""
    return {"event": {"kind": kind, **values}}


def _is_json(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")


class Speed:
    """Images per second, without the first batch, which pays for the compilation, where others follow it."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.batches = self.images = 0

    def count(self, images: int) -> None:
        """Note that a batch of so many images is done."""
        self.last = time.perf_counter()
        self.batches += 1
        self.images += images
        if self.batches == 1:
            self.first, self.first_images = self.last, images

    @property
    def per_second(self) -> float:
        """0 before the first batch."""
        if self.batches < 2:
            return self.images / (time.perf_counter() - self.begun)
        return (self.images - self.first_images) / (self.last - self.first)


def clock(seconds: float) -> str:
    """1:02:03 for 3723 s."""
    return str(timedelta(seconds=round(seconds)))


def short_clock(seconds: float) -> str:
    """2:03 for 123 s, 1:02:03 for 3723 s."""
    text = clock(seconds)
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:") else text
