"""Files that processes of one machine hold in turn."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def exclusive_lock(path: Path, *, required: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, made where it is missing; wait for whichever process holds it. It stays there.

    Raises OSError where it cannot be written, or on a file system without locks; with `required` False the latter is
    passed over: all who wait go on together.
    """
    path.touch()
    with open(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if required:
                raise
            logger.debug("%s: no locks here (%s)", path, error)
        yield
