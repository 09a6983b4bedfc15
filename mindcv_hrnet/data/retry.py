"""Reads that survive a moody disk or share: a failing one is tried again, a stalled one goes to another thread."""

import logging
import os
import threading
import time

from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import NotAFile

logger = logging.getLogger(__name__)

RETRY_AFTER_S = (0.1, 1.0)
STALLED_AFTER_S = 60.0
MAX_STALLS = 3
ROOT_POLL_S = 0.5
# Another attempt cannot change these
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotAFile)


class GivenUp(Exception):
    """A read that came back after others had taken over its work."""


class PatientReader:
    """`source.read` with retries. Nothing can interrupt a read that hangs, so `stalled` finds it from outside."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reads: dict[int, tuple[int, float]] = {}
        self._stalls: dict[int, int] = {}
        self._told = False

    def __call__(self, index: int) -> bytes:
        """The encoded image. Raises OSError when the last retry fails, too."""
        reads, thread = self._reads, threading.get_ident()
        reads[thread] = index, time.monotonic()
        try:
            while True:
                try:
                    data = self._try(index)
                    break
                except OSError:
                    if os.path.exists(self._source.root):
                        raise
                    self._await_root(reads)
        finally:
            reads.pop(thread, None)
        if reads is not self._reads:
            raise GivenUp
        return data

    def _await_root(self, reads: object) -> None:
        """Wait for a mount that has gone. `stalled` puts an end to it: it counts as a read that hangs."""
        if not self._told:
            self._told = True
            limit = MAX_STALLS * STALLED_AFTER_S
            logger.warning("%s: is gone; waiting up to %g s for it to come back", self._source.root, limit)
        while not os.path.exists(self._source.root):
            if reads is not self._reads:
                raise GivenUp
            time.sleep(ROOT_POLL_S)
        self._told = False

    def _try(self, index: int) -> bytes:
        for pause in RETRY_AFTER_S:
            try:
                return self._source.read(index)
            except _FINAL:
                raise
            except OSError as error:
                reason = error.strerror or error
                logger.warning("%s: reading failed (%s); trying again", self._source.path(index), reason)
                time.sleep(pause)
        return self._source.read(index)

    def stalled(self) -> bool:
        """Whether a read hangs. All reads going on are then given up: start their work anew, on other threads.

        Raises DataError when the same sample has stalled `MAX_STALLS` times.
        """
        now = time.monotonic()
        hanging = [index for index, since in list(self._reads.values()) if now - since > STALLED_AFTER_S]
        for index in hanging:
            self._stalls[index] = self._stalls.get(index, 0) + 1
            path, times = self._source.path(index), self._stalls[index]
            if times >= MAX_STALLS:
                self._reads = {}  # whoever waits for the mount gives up
                raise DataError(
                    f"{path}: reading it stalled {times} times for {STALLED_AFTER_S:g} s; check the disk or the share"
                )
            logger.warning("%s: reading it takes more than %g s; trying again", path, STALLED_AFTER_S)
        if hanging:
            self._reads = {}
        return bool(hanging)
