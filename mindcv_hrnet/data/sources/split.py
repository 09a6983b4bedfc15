"""Where samples come from: a folder with one sub-folder per class, tars, MindRecord, or a data set's original files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS, OriginalSplit
from mindcv_hrnet.data.sources.class_names import check_names, numbers_of
from mindcv_hrnet.data.sources.folder import SUFFIXES, folder_index
from mindcv_hrnet.data.sources.mindrecord import MINDRECORD
from mindcv_hrnet.data.sources.shards import Format, Shards
from mindcv_hrnet.data.sources.tars import TAR
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import expand_home


class Source(Protocol):
    """Encoded images with their labels, by index."""

    root: str
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded image. Raises OSError."""
        ...

    def path(self, index: int) -> str:
        """Where the sample lies, for messages."""
        ...


class ImageFolder:
    """`root/<class>/**/<image>`, classes and images in sorted order.

    Without `class_names` the class folders define the classes (training): there must be two or more, none empty. With
    `class_names` (the training split's) labels follow that order: a class without folder keeps its number, a folder
    that is not among them is an error. Names that start with a dot and files of other suffixes are left out. Large
    folders are listed once and remembered (`folder_index`).

    labels: (N,) int32.

    Raises DataError, one line naming the folder and the fix.
    """

    def __init__(self, root: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
        self.root = os.fspath(root)
        found = _class_folders(self.root, training=class_names is None)
        self.class_names = tuple(class_names) if class_names is not None else tuple(found)
        self._check_classes(found, training=class_names is None)
        known = set(found)
        present = [name for name in self.class_names if name in known]
        self._index = folder_index(self.root, present)
        counts = dict(zip(present, self._index.counts.tolist(), strict=True))
        self._check_images(counts, training=class_names is None)
        per_class = [counts.get(name, 0) for name in self.class_names]
        self.labels = np.repeat(np.arange(len(per_class), dtype=np.int32), per_class)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """Path of the image file."""
        return os.path.join(self.root, self.class_names[self.labels[index]], self._index.name(index))

    def read(self, index: int) -> bytes:
        """Content of the image file. Raises OSError."""
        with open(self.path(index), "rb", buffering=0) as file:
            return file.read()

    def _check_classes(self, found: Sequence[str], training: bool) -> None:
        if training and len(found) == 1:
            raise DataError(f"{self.root}: only one class folder ('{found[0]}'); classification needs two or more")
        check_names(self.root, found)
        numbers_of(found, self.class_names, self.root, "rename or remove the folder")

    def _check_images(self, counts: dict[str, int], training: bool) -> None:
        if not any(counts.values()):
            raise DataError(f"{self.root}: no image in any class folder; looked for {', '.join(SUFFIXES[:5])}, ...")
        empty = [name for name, count in counts.items() if not count]
        if training and empty:
            raise DataError(
                f"{os.path.join(self.root, empty[0])}: class folder without an image{_and_more(empty)}; "
                "add images or remove the folder"
            )


def open_split(data_dir: str, split: str, class_names: Sequence[str] | None = None, dataset: str = "folder") -> Source:
    """The images of `data_dir/split`, in class folders or in shards; with an empty `split`, of `data_dir` itself.

    A `dataset` of `ORIGINALS` has its files in `data_dir`, and classes of its own. Raises DataError.
    """
    base = expand_home(data_dir)
    if not base.is_dir():
        raise DataError(
            f"{base}: {'not a folder' if base.exists() else 'no such folder'}; set data_dir to your data set"
        )
    if dataset in ORIGINALS:
        return OriginalSplit(dataset, base, split, class_names)
    kind = _format_of(base / split)
    return Shards(base / split, kind, class_names) if kind else ImageFolder(base / split, class_names)


def class_names_of(data_dir: str, split: str, dataset: str = "folder") -> tuple[str, ...] | None:
    """Classes of `data_dir/split`; of class folders without looking for images. None where there is no such folder."""
    base = expand_home(data_dir)
    if dataset in ORIGINALS:
        return ORIGINALS[dataset].class_names(base)
    root = base / split
    kind = _format_of(root)
    if kind:
        return Shards(root, kind).class_names
    return tuple(_class_folders(os.fspath(root), training=True)) if root.is_dir() else None


def _format_of(root: Path) -> Format | None:
    """How the shards of a split are made; None for class folders. Raises DataError where there are two layouts."""
    kinds = [kind for kind in (TAR, MINDRECORD) if kind.of(os.fspath(root))]
    if len(kinds) > 1:
        raise DataError(f"{root}: holds tar files and MindRecord files; keep one kind, or images count twice")
    folders = _folders(root) if kinds else []
    if folders:
        raise DataError(
            f"{root}: holds {kinds[0].name} files and a folder '{folders[0]}'{_and_more(folders)}; "
            "keep the files or the class folders, one of them would be left out"
        )
    return kinds[0] if kinds else None


def _folders(root: str | os.PathLike[str]) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _class_folders(root: str, *, training: bool) -> list[str]:
    try:
        folders = _folders(root)
    except FileNotFoundError:
        parent, split = os.path.split(root)
        instead = (
            f"'mindcv-hrnet split {parent} OUT' divides a folder that has none"
            if training
            else "to train without it pass --val_while_train False"
        )
        raise DataError(
            f"{root}: no such folder; {parent} needs a '{split}' folder with one folder per class; {instead}"
        ) from None
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error.strerror}); check the path and its permissions") from None
    if not folders:
        raise DataError(f"{root}: no class folders in it; images belong in {os.path.join(root, '<class>', '')}")
    return folders


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
