"""What an image folder holds: a scan of every class folder, remembered for the next start (`index_cache`).

The list holds while the folder and every folder below it has the modification time of the scan: adding, removing or
renaming a file changes that of its folder.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.data.sources.index_cache import (
    Listing,
    ListingArrays,
    Progress,
    load_or_list,
    pack_texts,
    unpack_texts,
)
from mindcv_hrnet.errors import DataError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".gif"),
)
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
        """Path of an image relative to its class folder."""
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.names[start : self.ends[index]])


class _ClassFolder(NamedTuple):
    """One class folder: its images, and the modification time of it and every folder below, by relative path."""

    images: list[bytes]
    folders: list[tuple[str, int]]


def folder_index(root: str, classes: Sequence[str]) -> FolderIndex:
    """The images in the class folders `root/<class>`, from the cache where it still holds. Raises DataError."""
    found = load_or_list(root, lambda arrays: _holds(arrays, root, classes), lambda: _scan(root, classes))
    ends = np.cumsum(found["lengths"], dtype=np.int64)
    return FolderIndex(found["names"].tobytes(), ends, found["counts"])


def _holds(arrays: ListingArrays, root: str, classes: Sequence[str]) -> bool:
    if unpack_texts(arrays["suffixes"]) != list(SUFFIXES) or unpack_texts(arrays["classes"]) != list(classes):
        return False
    counts, lengths = arrays["counts"], arrays["lengths"]
    if (len(counts), counts.sum(), lengths.sum()) != (len(classes), len(lengths), len(arrays["names"])):
        return False
    folders = zip(unpack_texts(arrays["folders"]), arrays["times"].tolist(), strict=True)
    return all(os.stat(os.path.join(root, name)).st_mtime_ns == when for name, when in folders)


def _scan(root: str, classes: Sequence[str]) -> Listing:
    folders, names, lengths = [("", os.stat(root).st_mtime_ns)], [], []
    counts, progress = np.zeros(len(classes), np.int64), Progress(root, len(classes), "classes")
    with ThreadPoolExecutor(_SCANNERS, thread_name_prefix="scan") as pool:
        for place, found in enumerate(pool.map(lambda name: _list(root, name), classes)):
            counts[place] = len(found.images)
            names.append(b"".join(found.images))
            lengths.append(np.fromiter(map(len, found.images), np.uint16, len(found.images)))
            folders.extend(found.folders)
            progress.add(len(found.images))
    arrays = {
        "suffixes": pack_texts(SUFFIXES),
        "classes": pack_texts(classes),
        "folders": pack_texts([name for name, _ in folders]),
        "times": np.array([when for _, when in folders], np.int64),
        "counts": counts,
        "lengths": np.concatenate(lengths),
        "names": np.frombuffer(b"".join(names), np.uint8),
    }
    return Listing(arrays, int(counts.sum()), max(when for _, when in folders))


def _list(root: str, name: str) -> _ClassFolder:
    found = _ClassFolder([], [])
    _walk(os.path.join(root, name), "", name, found)
    found.images.sort()
    return found


def _walk(folder: str, prefix: str, below_root: str, found: _ClassFolder) -> None:
    """Collect paths below a class folder. The suffix decides before the file type does: that saves a call per file."""
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
