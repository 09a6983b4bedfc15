"""Images inside a few big files, read in place, at random: what tar files and MindRecord files have in common.

Where each image lies is listed once and remembered (`index_cache`) for as long as the files keep their names, sizes
and modification times.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.data.sources.class_names import check_names, numbers_of
from mindcv_hrnet.data.sources.index_cache import (
    Listing,
    ListingArrays,
    Progress,
    load_or_list,
    pack_texts,
    unpack_texts,
)
from mindcv_hrnet.errors import DataError

CLASSES_FILE = "classes.txt"


class Member(NamedTuple):
    """An image in a shard: its bytes, what to call it in a message, and its class by name or by number."""

    offset: int
    size: int
    name: str
    label: str | int


class Format(NamedTuple):
    """A kind of shard.

    name: for messages. of: the shards of a folder, sorted. companions: files that belong to a shard, by suffix.
    members: a shard's images, raises DataError. numbers_are_names: whether class numbers do without `classes.txt`.
    """

    name: str
    of: Callable[[str], list[str]]
    members: Callable[[str], Iterable[Member]]
    companions: tuple[str, ...] = ()
    numbers_are_names: bool = False


class Shards:
    """The images in the shards of `root`, one shard after the other, in the order in which they lie there.

    Classes are sorted by name. A class number n stands for line n + 1 of `classes.txt` beside the shards. Sampling,
    augmentation and labels are those of an image folder with the same content: every image counts once, and any of them
    is read on its own, by any number of threads. `class_names` as in `ImageFolder`. Raises DataError.
    """

    def __init__(self, root: str | os.PathLike[str], kind: Format, class_names: Sequence[str] | None = None) -> None:
        self.root = os.fspath(root)
        self._shards, self._kind = kind.of(self.root), kind
        found = load_or_list(self.root, self._holds, self._list)
        names = unpack_texts(found["names"])
        self.class_names = tuple(class_names) if class_names is not None else tuple(names)
        check_names(self.root, names)
        numbers = numbers_of(names, self.class_names, self.root, "prepare both splits alike")
        if len(self.class_names) < 2:
            raise DataError(f"{self.root}: only one class ('{self.class_names[0]}'); classification needs two or more")
        self.labels = numbers[found["classes"]]
        self._offsets, self._sizes = found["offsets"], found["sizes"]
        self._ends = np.cumsum(found["counts"])

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """`shard: byte offset`; names inside the shards are not kept."""
        return f"{self._shard(index)}: image at byte {self._offsets[index]}"

    def read(self, index: int) -> bytes:
        """The encoded image. Raises OSError, also where its shard has become shorter."""
        size = int(self._sizes[index])
        with open(self._shard(index), "rb", buffering=0) as shard:
            shard.seek(int(self._offsets[index]))
            data = shard.read(size)
        if len(data) < size:
            raise OSError(f"the {self._kind.name} file ends {size - len(data)} bytes early")
        return data

    def _shard(self, index: int) -> str:
        return self._shards[np.searchsorted(self._ends, index, side="right")]

    def _state(self) -> tuple[list[str], np.ndarray]:
        """What the listing depends on: names, and (files, 2) sizes and modification times in ns."""
        paths = [path + suffix for path in self._shards for suffix in ("", *self._kind.companions)]
        listed = Path(self.root, CLASSES_FILE)
        paths += [os.fspath(listed)] if listed.exists() else []
        stats = [os.stat(path) for path in paths if os.path.exists(path)]
        return paths, np.array([(stat.st_size, stat.st_mtime_ns) for stat in stats], np.int64)

    def _holds(self, arrays: ListingArrays) -> bool:
        names, state = self._state()
        images, classes = int(arrays["counts"].sum()), arrays["classes"]
        whole = all(len(arrays[key]) == images for key in ("offsets", "sizes", "classes")) and images > 0
        known = whole and 0 <= classes.min() <= classes.max() < len(unpack_texts(arrays["names"]))
        return known and unpack_texts(arrays["files"]) == names and np.array_equal(arrays["state"], state)

    def _list(self) -> Listing:
        files, state = self._state()  # before listing: later changes are noticed
        progress = Progress(self.root, len(self._shards), f"{self._kind.name} files")
        class_of = _ClassNames(self.root, self._kind.numbers_are_names)
        counts, offsets, sizes, classes = [], [], [], []
        for shard in self._shards:
            members = list(self._kind.members(shard))
            counts.append(len(members))
            offsets.append(np.array([member.offset for member in members], np.int64))
            sizes.append(np.array([member.size for member in members], np.int64))
            classes.append(np.array([class_of.number(shard, member) for member in members], np.int32))
            progress.add(len(members))
        if not sum(counts):
            raise DataError(f"{self.root}: no image in any of its {len(self._shards)} {self._kind.name} files")
        names, places = class_of.sorted()
        arrays = {
            "files": pack_texts(files),
            "state": state,
            "names": pack_texts(names),
            "counts": np.array(counts, np.int64),
            "offsets": np.concatenate(offsets),
            "sizes": np.concatenate(sizes),
            "classes": places[np.concatenate(classes)],
        }
        return Listing(arrays, sum(counts), int(state[:, 1].max()))


class _ClassNames:
    """Numbers the classes as they turn up, and sorts them in the end."""

    def __init__(self, root: str, numbers_are_names: bool) -> None:
        self._file = Path(root, CLASSES_FILE)
        # with the mark that Windows editors put first, and without what they leave at the ends of lines
        text = self._file.read_text(encoding="utf-8-sig") if self._file.exists() else ""
        self._lines = [line.strip() for line in text.splitlines()]
        self._plain = numbers_are_names and not self._lines
        self._found: dict[str | int, int] = {}
        self._labels_are_numbers: bool | None = None
        twice = [line for line, times in Counter(filter(None, self._lines)).items() if times > 1]
        if twice:
            raise DataError(f"{self._file}: '{twice[0]}' stands there twice; every class needs a name of its own")

    def number(self, shard: str, member: Member) -> int:
        label = member.label
        is_number = isinstance(label, int)
        if self._labels_are_numbers not in (None, is_number):
            raise DataError(
                f"{shard}: {member.name} has {'a' if is_number else 'no'} class number (.cls), images before it have "
                f"{'none' if is_number else 'one'}; give one to every image of the split or to none"
            )
        self._labels_are_numbers = is_number
        if isinstance(label, int) and not self._plain:
            if not 0 <= label < len(self._lines) or not self._lines[label]:
                raise DataError(
                    f"{shard}: {member.name} has class number {label}, which needs a line in {self._file}; "
                    "write one class name per line"
                )
            label = self._lines[label]
        return self._found.setdefault(label, len(self._found))

    def sorted(self) -> tuple[list[str], np.ndarray]:
        """The names in order, and the place of each class found so far; numbers without names in numeric order."""
        ordered = sorted(self._found, key=lambda label: (isinstance(label, str), label))
        places = {label: place for place, label in enumerate(ordered)}
        return [str(label) for label in ordered], np.array([places[label] for label in self._found], np.int32)


def files_in(root: str, wanted: Callable[[str], bool]) -> list[str]:
    """The files of a folder by name, sorted; empty where there is no folder."""
    try:
        return sorted(os.path.join(root, name) for name in os.listdir(root) if wanted(name))
    except OSError:
        return []
