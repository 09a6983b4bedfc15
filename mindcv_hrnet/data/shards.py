"""Images inside tar files: one tar per class, class folders inside tars, or WebDataset pairs. Read in place, at random.

A split is a folder of `*.tar`. A member's class is, in this order: the number in its pair's `.cls` member, which
counts the lines of `classes.txt` beside the tars; its folder inside the tar; the tar's own name.
"""

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mindcv_hrnet.data.folder_index import SUFFIXES
from mindcv_hrnet.errors import DataError

CLASSES_FILE = "classes.txt"


class _Member(NamedTuple):
    """An image in a tar: where its bytes are, and its class by name or, from a `.cls` member, by number."""

    name: str
    offset: int
    size: int
    label: str | int


class TarShards:
    """The images in `root/*.tar`, tar after tar, in the order in which they lie there; classes sorted by name.

    Sampling, augmentation and labels are those of an image folder with the same content: every image counts once, and
    any of them is read on its own. `class_names` as in `ImageFolder`. Raises DataError.
    """

    def __init__(self, root: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
        self.root = os.fspath(root)
        self._tars = shard_files(self.root)
        listed = Path(self.root, CLASSES_FILE)
        numbered = listed.read_text(encoding="utf-8").split("\n") if listed.exists() else []
        members = [(shard, member) for shard, tar in enumerate(self._tars) for member in _members(tar)]
        if not members:
            raise DataError(f"{self.root}: no image in any of its {len(self._tars)} tar files")
        names = [self._name(self._tars[shard], member, numbered) for shard, member in members]
        self.class_names = tuple(class_names) if class_names is not None else tuple(sorted(set(names)))
        unknown = sorted(set(names) - set(self.class_names))
        if unknown:
            raise DataError(
                f"{self.root}: '{unknown[0]}' is not among the {len(self.class_names)} classes of the training split; "
                "prepare both splits alike"
            )
        if len(self.class_names) < 2:
            raise DataError(f"{self.root}: only one class ('{self.class_names[0]}'); classification needs two or more")
        numbers = {name: number for number, name in enumerate(self.class_names)}
        self.labels = np.array([numbers[name] for name in names], np.int32)
        self._shards = np.array([shard for shard, _ in members], np.int32)
        self._offsets = np.array([member.offset for _, member in members], np.int64)
        self._sizes = np.array([member.size for _, member in members], np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """`tar:byte offset`; names inside the tars are not kept."""
        return f"{self._tars[self._shards[index]]}: image at byte {self._offsets[index]}"

    def read(self, index: int) -> bytes:
        size = int(self._sizes[index])
        with open(self._tars[self._shards[index]], "rb", buffering=0) as tar:
            tar.seek(int(self._offsets[index]))
            data = tar.read(size)
        if len(data) < size:
            raise OSError(f"the tar ends {size - len(data)} bytes early")
        return data

    def _name(self, tar: str, member: _Member, numbered: Sequence[str]) -> str:
        if isinstance(member.label, str):
            return member.label
        if not 0 <= member.label < len([line for line in numbered if line]):
            raise DataError(
                f"{tar}: {member.name} has class number {member.label}, which needs a line in "
                f"{os.path.join(self.root, CLASSES_FILE)}; write one class name per line"
            )
        return numbered[member.label]


def shard_files(root: str) -> list[str]:
    """The tar files of a split, sorted; empty where it has none."""
    try:
        return sorted(os.path.join(root, name) for name in os.listdir(root) if name.endswith(".tar"))
    except OSError:
        return []


def _members(tar: str) -> Iterator[_Member]:
    """The images of a tar with their labels."""
    stem = Path(tar).name.removesuffix(".tar")
    images: dict[str, tarfile.TarInfo] = {}
    numbers: dict[str, int] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                key, suffix = os.path.splitext(info.name)
                if not info.isfile() or os.path.basename(info.name).startswith("."):
                    continue
                if suffix.lower() in SUFFIXES:
                    if key in images:
                        raise DataError(f"{tar}: holds {images[key].name} and {info.name}; one image per key")
                    images[key] = info
                elif suffix == ".cls":
                    file = archive.extractfile(info)
                    assert file is not None
                    numbers[key] = int(file.read())
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"{tar}: cannot be read ({error}); is it a complete tar file?") from None
    for key, info in images.items():
        folder = os.path.basename(os.path.dirname(info.name))
        yield _Member(info.name, info.offset_data, info.size, numbers.get(key, folder or stem))
