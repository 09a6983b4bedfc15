"""Event files of TensorBoard in the run folder.

A file is a row of records (length, checksum, bytes, checksum), each an `Event` of TensorBoard's protocol. Of the
package tensorboardX we use messages and checksum. Its writer has a thread that dies of a full disk and then blocks its
caller.
"""

import io
import logging
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams, text

from mindcv_hrnet.engine.rows import EpochRow, StepRow
from mindcv_hrnet.engine.trackers.tracker import EPOCH_SCALARS, Start, Tracker, scalars

logger = logging.getLogger(__name__)

FILES = "events.out.tfevents.{seconds:010d}.{host}"


class TensorBoard(Tracker):
    """Writes one event file. Where the folder has files already, readers drop what they hold after `first_step`.

    Events that the disk refuses go to a file of their own with the next one: the one before may end within a record.
    """

    def __init__(self, folder: Path, start: Start):
        self.folder, self._waiting = folder, b""
        earlier = self._choose_file()
        self.begins = not earlier or not start.first_step
        """Whether the recipe and first images are to be told."""
        if earlier:
            first = start.first_step + 1 if start.first_step else 0
            self._write(_event(first, session_log=SessionLog(status=SessionLog.START)))
        if self.begins:
            self._recipe(start)

    def _choose_file(self) -> bool:
        """Name the file; returns whether there are others. Readers take them in the order of their names."""
        earlier = [int(path.name.split(".")[3]) for path in self.folder.glob("events.out.tfevents.*.*")]
        # the clock may have been set back
        seconds = max([int(time.time()), *(number + 1 for number in earlier)])
        self.path = self.folder / FILES.format(seconds=seconds, host=socket.gethostname())
        return bool(earlier)

    def _recipe(self, start: Start) -> None:
        plain = {key: _plain(value) for key, value in start.recipe.items()}
        experiment, session, _ = hparams(plain, dict.fromkeys((*EPOCH_SCALARS.values(),)))
        lines = "".join(f"| {key} | {value} |\n" for key, value in plain.items())
        for summary in (experiment, session, text("recipe", f"| key | value |\n|---|---|\n{lines}")):
            self._write(_event(start.first_step, summary=summary))

    def step(self, row: StepRow) -> None:
        """The curves of the steps."""
        self._write(_event(row.step, summary=_summary(scalars(row))))

    def epoch(self, row: EpochRow) -> None:
        """The curves of the epochs, over steps as well."""
        self._write(_event(row.step, summary=_summary(scalars(row))))

    def images(self, sheet: np.ndarray) -> None:
        """One picture."""
        encoded = io.BytesIO()
        Image.fromarray(sheet).save(encoded, "JPEG", quality=90)
        height, width, _ = sheet.shape
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue())
        self._write(_event(0, summary=Summary(value=[Summary.Value(tag="first_images", image=picture)])))

    def _write(self, event: Event) -> None:
        before, version = self._waiting, Event(wall_time=time.time(), file_version="brain.Event:2")
        self._waiting += _record(event)
        try:
            self.folder.mkdir(exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(self._waiting if file.tell() else _record(version) + self._waiting)
            self._waiting = b""
        except OSError as error:
            self._choose_file()
            if not before:
                logger.warning(
                    "%s: cannot be written (%s); tried again with the next line", self.folder, error.strerror
                )


def _event(step: int, **what: Any) -> Event:
    return Event(wall_time=time.time(), step=step, **what)


def _record(event: Event) -> bytes:
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def _summary(values: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _plain(value: Any) -> Any:
    """Lists as text, which TensorBoard has no other form for."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
