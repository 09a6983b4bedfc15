"""Writes on a thread of its own, so that the steps wait for a copy only; what a disk refuses is tried again."""

import logging
import threading
import time
from collections.abc import Callable

from mindcv_hrnet.errors import RunError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 30.0


class Hopeless(RunError):
    """A write that fails again however often it is tried."""


class Writer:
    """Does one write at a time, in the order they come; whoever hands over the next one waits for the one under way.

    A write that fails with RunError is told, and tried again after `RETRY_AFTER_S` or in front of the next one. When
    it fails a second time, its error ends the run; so do Hopeless and any other exception.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._failed: Callable[[], None] | None = None
        self._failed_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._thread is not None and self._thread.is_alive()

    def hand_over(self, write: Callable[[], None]) -> None:
        """Start `write` once the one before it is done. Raises what has ended the writing."""
        self.wait()
        self._retry()
        self._start(write)

    def look_after(self) -> None:
        """Try a failed write again when it is time. Cheap; call it after every step."""
        if self._failed and not self.busy and time.monotonic() - self._failed_at >= RETRY_AFTER_S:
            self._retry()

    def finish(self) -> None:
        """Wait until everything is written. Raises RunError where the disk refuses it twice."""
        self.wait()
        self._retry()

    def wait(self) -> None:
        """Wait for the write under way. Raises its error, unless it is to be tried again."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _retry(self) -> None:
        if self._failed:
            write, self._failed = self._failed, None
            write()

    def _start(self, write: Callable[[], None]) -> None:
        def run() -> None:
            try:
                write()
            except Hopeless as error:
                self._error = error
            except RunError as error:
                logger.warning("%s. Training goes on, and tries again in %g s", error, RETRY_AFTER_S)
                self._failed, self._failed_at = write, time.monotonic()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="writer")
        self._thread.start()
