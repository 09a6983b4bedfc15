"""Files that are whole or absent: temporary file, fsync, rename."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import RunError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    Raises RunError when the disk is full or the folder cannot be written; whatever `path` held before stays.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.chmod(0o644)  # MindSpore writes 0400
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) or _mentions_disk(error):
            raise RunError(f"{path}: cannot be written ({reason_of(error)}); {_advice(error)}") from None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder and its parents, or RunError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: folder cannot be made ({reason_of(error)}); choose another one") from None


def reason_of(error: Exception) -> str:
    """One clause: the system's word for an OSError, the first line of anything else."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
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
