"""A log file of a job's own: what the terminal shows, with times."""

import logging
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType

from mindcv_hrnet.errors import UserError

Traceback = tuple[type[BaseException], BaseException, TracebackType | None]


class _File(WatchedFileHandler):
    """Appends to a file that may be removed meanwhile. A disk that refuses a line costs that line."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Kept(logging.Handler):
    """Keeps lines in a list."""

    def __init__(self, lines: list[logging.LogRecord]):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record)


class RunLog:
    """Within it, the package's log lines are kept, from `open` on in a file, and so is the error that ends the block.

    Of several ranks each appends its own lines, with its number in front.
    """

    def __init__(self, rank: int = 0):
        whose = f"[rank {rank}] " if rank else ""
        self._formatter = logging.Formatter(f"%(asctime)s {whose}%(message)s", "%Y-%m-%d %H:%M:%S")
        self._earlier: list[logging.LogRecord] = []
        self._handler: logging.Handler = _Kept(self._earlier)
        self._logger = logging.getLogger("mindcv_hrnet")

    def __enter__(self) -> "RunLog":
        self._logger.addHandler(self._handler)
        return self

    def open(self, path: Path) -> None:
        """Write what has been kept, and all that follows, to the end of a file. A folder that is not there is passed.

        (Ranks on other hosts may have none.)
        """
        if not path.parent.is_dir():
            return
        with suppress(OSError):
            file = _File(path, encoding="utf-8")
            file.setFormatter(self._formatter)
            for record in self._earlier:
                file.handle(record)
            self._logger.removeHandler(self._handler)
            self._logger.addHandler(file)
            self._handler = file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            if isinstance(error, UserError):
                self.record(f"error: {error}")
            else:
                self.record(f"{type(error).__name__}: {error}", (type(error), error, traceback))
        self._logger.removeHandler(self._handler)
        self._handler.close()

    def record(self, error: str, traceback: Traceback | None = None) -> None:
        """Write down what ends the job; on the terminal it is told by another way."""
        self._handler.handle(logging.LogRecord(self._logger.name, logging.ERROR, __file__, 0, error, (), traceback))
