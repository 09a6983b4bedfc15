"""Files that processes of one machine hold in turn."""

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mindcv_hrnet.errors import RunError

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


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`; False where there is none, or no locks."""
    try:
        with open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


class OwnerLock:
    """A file that says who works in its folder, held from construction to `release`.

    The system lets go of it when the process ends, however that happens, so the lock of a dead process is taken over,
    with a notice. Raises RunError where a living process holds it. On a file system without locks the host and the
    process id in the file decide, and a process of another host counts as alive.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = self._take()
        self._file.seek(0)
        self._file.truncate()
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, self._file)
        self._file.flush()

    def _take(self) -> IO[str]:
        while True:
            file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open: closing it lets go
            file.seek(0)
            owner = _owner(file.read())
            try:
                # Unlike flock, this is not inherited by children that outlive the process
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = False
            except OSError as error:
                busy = error.errno in (errno.EACCES, errno.EAGAIN)
                held = busy or (bool(owner) and _seems_alive(owner))
            if held:
                file.close()
                raise RunError(
                    f"{self.path.parent}: process {owner.get('pid', '?')} on {owner.get('host', '?')} trains in this "
                    "folder; wait for it, or choose another --ckpt_save_dir"
                )
            if _same_file(file, self.path):
                if owner:
                    logger.warning(
                        "%s: process %s on %s ended without finishing; its lock is taken over",
                        self.path.parent,
                        owner.get("pid"),
                        owner.get("host"),
                    )
                return file
            file.close()  # its owner released, and so removed it, meanwhile

    def release(self) -> None:
        """Let go, and remove the file. Safe to call twice, and where the folder is gone."""
        if not self._file.closed:
            if _same_file(self._file, self.path):
                self.path.unlink(missing_ok=True)
            self._file.close()

    def is_there(self) -> bool:
        """Whether the file that is held is still the one in the folder."""
        return _same_file(self._file, self.path)


def _owner(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _seems_alive(owner: dict[str, Any]) -> bool:
    if owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int):
        return True
    return process_exists(owner["pid"])


def process_exists(pid: int) -> bool:
    """Whether a process with this id runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
