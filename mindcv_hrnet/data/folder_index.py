"""What an image folder holds, listed once: a scan of every class folder, kept in a cache file for the next start.

The cache of a folder is `$XDG_CACHE_HOME/mindcv_hrnet/index-<hash of its path>.npz` (`~/.cache` by default), so the
data set may be read-only. It holds when the folder and every folder below it has the modification time of the scan:
adding, removing or renaming a file changes that of its folder. The ranks of a job on one machine take turns at a lock
beside the cache: the first one scans, the others read what it wrote.
"""

import fcntl
import hashlib
import logging
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.cluster import launcher_of
from mindcv_hrnet.errors import DataError, RunError
from mindcv_hrnet.files import write_atomically

logger = logging.getLogger(__name__)

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".gif"),
)
WORTH_CACHING = 20_000  # images; fewer are listed as fast as the cache is checked
PROGRESS_EVERY_S = 5.0
# A folder changed this shortly before its scan may change again within one tick of the file system's clock
SETTLED_S = 2.0
_FORMAT = 1
_SCANNERS = 8  # a share answers several listings at once


@dataclass(frozen=True)
class FolderIndex:
    """Image paths relative to their class folder, class after class, each class sorted.

    names: all paths in one block of bytes. ends: (N,) int64, where each path ends in it. counts: images per class.
    """

    names: bytes
    ends: np.ndarray
    counts: np.ndarray

    def name(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.names[start : self.ends[index]])


class _Listing(NamedTuple):
    """One class folder: its images, and the modification time of it and every folder below, by relative path."""

    images: list[bytes]
    folders: list[tuple[str, int]]


def folder_index(root: str, classes: Sequence[str]) -> FolderIndex:
    """The images in the class folders `root/<class>`, from the cache where it still holds. Raises DataError."""
    cache = _cache_file(root)
    found = _read(cache, root, classes)
    if found is not None:
        return found
    if launcher_of(os.environ)[1] > 0:
        time.sleep(1)  # leaves the scan to the first rank, which is the one that shows progress
    with _turn(cache) as writable:
        return _read(cache, root, classes) or _scan(root, classes, cache if writable else None)


def _scan(root: str, classes: Sequence[str], cache: Path | None) -> FolderIndex:
    started, shown = time.time(), time.monotonic()
    folders, names, lengths = [("", os.stat(root).st_mtime_ns)], [], []
    counts = np.zeros(len(classes), np.int64)
    with ThreadPoolExecutor(_SCANNERS, thread_name_prefix="scan") as pool:
        for place, listing in enumerate(pool.map(lambda name: _list(root, name), classes)):
            counts[place] = len(listing.images)
            names.append(b"".join(listing.images))
            lengths.append(np.fromiter(map(len, listing.images), np.uint16, len(listing.images)))
            folders.extend(listing.folders)
            if time.monotonic() - shown > PROGRESS_EVERY_S:
                shown = time.monotonic()
                logger.info("%s: %d of %d classes listed, %d images", root, place + 1, len(classes), counts.sum())
    index = _assemble(b"".join(names), np.concatenate(lengths), counts)
    settled = max(when for _, when in folders) < (started - SETTLED_S) * 1e9
    if cache and settled and len(index.ends) >= WORTH_CACHING:
        _write(cache, root, classes, index, np.concatenate(lengths), folders)
    return index


def _assemble(names: bytes, lengths: np.ndarray, counts: np.ndarray) -> FolderIndex:
    return FolderIndex(names, np.cumsum(lengths, dtype=np.int64), counts)


def _list(root: str, name: str) -> _Listing:
    found = _Listing([], [])
    _walk(os.path.join(root, name), "", name, found)
    found.images.sort()
    return found


def _walk(folder: str, prefix: str, below_root: str, found: _Listing) -> None:
    """Collect paths below a class folder. The suffix decides before the file type does: that spares a call per file."""
    try:
        found.folders.append((below_root, os.stat(folder).st_mtime_ns))  # before listing: later changes are noticed
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if name.lower().endswith(SUFFIXES):
                    found.images.append(os.fsencode(prefix + name))
                elif entry.is_dir():
                    _walk(entry.path, f"{prefix}{name}/", f"{below_root}/{name}", found)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None


# --- the cache file --------------------------------------------------------------------------------------------------


def _cache_file(root: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return base / "mindcv_hrnet" / f"index-{digest}.npz"


@contextmanager
def _turn(cache: Path) -> Iterator[bool]:
    """Hold the lock of a cache file; False where there is no place to write it."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        lock = open(cache.with_suffix(".lock"), "w")  # noqa: SIM115 - closed below, in the caller's time
    except OSError:
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: every rank scans
            logger.debug("%s: no locks here", cache)
        yield True


def _write(
    cache: Path,
    root: str,
    classes: Sequence[str],
    index: FolderIndex,
    lengths: np.ndarray,
    folders: Sequence[tuple[str, int]],
) -> None:
    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(
                file,
                format=np.int64(_FORMAT),
                suffixes=_block(SUFFIXES),
                root=_block([os.path.realpath(root)]),
                classes=_block(classes),
                folders=_block([name for name, _ in folders]),
                times=np.array([when for _, when in folders], np.int64),
                counts=index.counts,
                lengths=lengths,
                names=np.frombuffer(index.names, np.uint8),
            )

    try:
        write_atomically(cache, write)
    except RunError as error:
        logger.warning("the list of images is not kept for the next start: %s", error)
        return
    logger.info("%s: %d images listed; kept in %s for the next start", root, len(index.ends), cache)


def _read(cache: Path, root: str, classes: Sequence[str]) -> FolderIndex | None:
    """The cached index if it is whole and the folders are as they were; None otherwise."""
    try:
        with np.load(cache) as stored:
            same = (
                int(stored["format"]) == _FORMAT
                and _lines(stored["suffixes"]) == list(SUFFIXES)
                and _lines(stored["root"]) == [os.path.realpath(root)]
                and _lines(stored["classes"]) == list(classes)
            )
            if not same:
                return None
            for name, when in zip(_lines(stored["folders"]), stored["times"].tolist(), strict=True):
                if os.stat(os.path.join(root, name)).st_mtime_ns != when:
                    return None
            return _assemble(stored["names"].tobytes(), stored["lengths"], stored["counts"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _block(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes with a zero after each, which no path holds."""
    return np.frombuffer(b"".join(os.fsencode(text) + b"\0" for text in texts), np.uint8)


def _lines(block: np.ndarray) -> list[str]:
    return [os.fsdecode(part) for part in block.tobytes().split(b"\0")[:-1]]
