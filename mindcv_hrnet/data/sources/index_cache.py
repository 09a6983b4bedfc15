"""What a split holds, listed once: the arrays of a listing, kept in a cache file for the next start.

The file is `index-<hash of the split's path>.npz` in the package's cache folder, so the data set may be read-only. The
ranks of a job on one machine take turns at a lock beside it: the first one lists, the others read what it wrote.
"""

import hashlib
import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.cache import cache_folder
from mindcv_hrnet.runtime.distributed import launcher_of
from mindcv_hrnet.runtime.files import write_atomically
from mindcv_hrnet.runtime.locks import exclusive_lock

logger = logging.getLogger(__name__)

WORTH_CACHING = 20_000  # images; fewer are listed as fast as the cache is checked
PROGRESS_EVERY_S = 5.0
# What changed this shortly before it was listed may change again within one tick of the file system's clock
SETTLED_S = 2.0
_FORMAT = 3

ListingArrays = dict[str, Any]  # name -> array


class Listing(NamedTuple):
    """What `list_now` found: the arrays to keep, how many images they tell of, and the newest time of change (ns)."""

    arrays: ListingArrays
    images: int
    changed_ns: int


def load_or_list(root: str, holds: Callable[[ListingArrays], bool], list_now: Callable[[], Listing]) -> ListingArrays:
    """The arrays of the last listing of `root` while they hold, else of a new one. Raises what `list_now` raises.

    `holds` may raise anything for arrays that are not its own.
    """
    cache = cache_file(root)
    found = _read(cache, root, holds)
    if found is not None:
        return found
    if launcher_of(os.environ)[1] > 0:
        time.sleep(1)  # leaves the listing to the first rank, which is the one that shows progress
    with _turn(cache) as writable:
        found = _read(cache, root, holds)
        if found is not None:
            return found
        started = time.time()
        listing = list_now()
        settled = listing.changed_ns < (started - SETTLED_S) * 1e9
        if writable and settled and listing.images >= WORTH_CACHING:
            _write(cache, root, listing)
        return listing.arrays


class Progress:
    """A line in the log now and then while something is listed."""

    def __init__(self, root: str, parts: int, kind: str) -> None:
        self._root, self._parts, self._kind = root, parts, kind
        self._done, self._images, self._shown = 0, 0, time.monotonic()

    def add(self, images: int) -> None:
        """One part more, with so many images."""
        self._done, self._images = self._done + 1, self._images + images
        if time.monotonic() - self._shown > PROGRESS_EVERY_S:
            self._shown = time.monotonic()
            logger.info(
                "%s: %d of %d %s listed, %d images", self._root, self._done, self._parts, self._kind, self._images
            )


def pack_texts(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes with a zero after each, which no path holds."""
    return np.frombuffer(b"".join(os.fsencode(text) + b"\0" for text in texts), np.uint8)


def unpack_texts(array: np.ndarray) -> list[str]:
    """The texts of `pack_texts`."""
    return [os.fsdecode(part) for part in array.tobytes().split(b"\0")[:-1]]


def cache_file(root: str) -> Path:
    """Where the listing of a split is kept, by the path that its links lead to."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return cache_folder() / f"index-{digest}.npz"


@contextmanager
def _turn(cache: Path) -> Iterator[bool]:
    """Hold the lock of a cache file; False where there is no place to write it."""
    with ExitStack() as held:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive_lock(cache.with_suffix(".lock"), required=False))
            writable = True
        except OSError:
            writable = False
        yield writable


def _write(cache: Path, root: str, listing: Listing) -> None:
    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, format=np.int64(_FORMAT), root=pack_texts([os.path.realpath(root)]), **listing.arrays)

    try:
        write_atomically(cache, write)
    except RunError as error:
        logger.warning("the list of images is not kept for the next start: %s", error)
        return
    logger.info("%s: %d images listed; kept in %s for the next start", root, listing.images, cache)


def _read(cache: Path, root: str, holds: Callable[[ListingArrays], bool]) -> ListingArrays | None:
    """The cached arrays if the file is whole and `holds` agrees; None otherwise."""
    try:
        with zipfile.ZipFile(cache) as archive:
            if sum(info.file_size for info in archive.infolist()) > cache.stat().st_size:
                return None  # packed, which ours are not: a few bytes could unpack to gigabytes
        with np.load(cache) as stored:
            if int(stored["format"]) != _FORMAT or unpack_texts(stored["root"]) != [os.path.realpath(root)]:
                return None
            arrays = {name: stored[name] for name in stored.files}
            return arrays if holds(arrays) else None
    # A damaged file can fail in any way, from an unknown compression to a table that asks for a terabyte
    except Exception as error:
        logger.debug("%s: not used (%s)", cache, error)
        return None
