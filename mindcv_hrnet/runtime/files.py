"""Files that are whole or absent: temporary file, fsync, rename."""

import errno
import glob
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mindcv_hrnet.errors import RunError, UserError

_PIECE = 1 << 20
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes


class NotAFile(OSError):
    """A pipe, a device or a socket: reading it could wait for ever."""


def open_regular(path: str) -> BinaryIO:
    """Open a file to read it, unbuffered. Raises OSError, NotAFile at once where it is none."""
    file = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotAFile(errno.EINVAL, "it is a pipe, a device or a socket", path)
    return file


def can_be_a_path(text: str) -> bool:
    """Whether the file system could hold such a path."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    longest = max(map(len, encoded.split(b"/")))
    return b"\0" not in encoded and len(encoded) <= LONGEST_PATH and longest <= LONGEST_NAME


def expand_home(path: str | os.PathLike[str]) -> Path:
    """The path with the home folder for a leading `~` or `~name`.

    Raises UserError where nobody has that name, and for what no file can be called.
    """
    if not can_be_a_path(os.fspath(path)):
        raise UserError(f"{path}: no file can be called so; a name has up to {LONGEST_NAME} bytes, none of them zero")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # what pathlib raises for it
        raise UserError(f"{path}: '~' stands for no home folder here; write the path in full") from None


def absolute(path: str) -> str:
    """The path as the user meant it, whatever folder the process stands in later; empty stays empty."""
    return os.path.abspath(expand_home(path)) if path else ""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    Raises RunError when the disk is full or the folder cannot be written; whatever `path` held before stays.
    """
    stem = f".{path.stem}.{os.getpid()}"
    temporary = path.with_name(f"{stem}{path.suffix}")
    try:
        write(temporary)
        temporary.chmod(0o644)  # MindSpore writes 0400
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except Exception as error:
        if isinstance(error, OSError) or _mentions_disk(error):
            raise RunError(f"{path}: cannot be written ({reason_of(error)}); {_advice(error)}") from None
        raise
    finally:
        # MindSpore has a temporary name of its own beside ours
        for leftover in (temporary, *path.parent.glob(f"{glob.escape(stem)}.*")):
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder and its parents, or RunError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: folder cannot be made ({reason_of(error)}); choose another one") from None


@contextmanager
def muted_logging() -> Iterator[None]:
    """Drop log lines meanwhile: MindSpore logs what it raises, too, and our one line is to stand alone."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def reason_of(error: Exception) -> str:
    """One clause: the system's word for an OSError, the first line of anything else."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line_of(error)


def first_line_of(error: Exception) -> str:
    """The first line of what an error says; its class where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _mentions_disk(error: Exception) -> bool:
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES))


def _advice(error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    remedy = "free some space" if full or not isinstance(error, OSError) else "check the folder"
    return f"{remedy} and start again; earlier files are untouched"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
