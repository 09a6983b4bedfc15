"""A data set of plain files: one folder for each class."""

import os
from collections.abc import Sequence

import numpy as np

from mindcv_hrnet.data.sources.class_names import check_names, numbers_of
from mindcv_hrnet.data.sources.folder_index import SUFFIXES, folder_index
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import open_regular


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
        found = class_folders(self.root, training=class_names is None)
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
        with open_regular(self.path(index)) as file:
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
                f"{os.path.join(self.root, empty[0])}: class folder without an image{and_more(empty)}; "
                "add images or remove the folder"
            )


def folders_of(root: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder, sorted, without those that start with a dot. Raises OSError."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def class_folders(root: str, *, training: bool) -> list[str]:
    """Names of the class folders of a split. Raises DataError where there are none; `training` words its advice."""
    try:
        folders = folders_of(root)
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


def and_more(names: Sequence[str]) -> str:
    """ " (and N more)" after the first of several names."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
