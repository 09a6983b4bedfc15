"""Which source a split is: class folders, tars, MindRecord files, or a data set's original files."""

import os
from collections.abc import Sequence
from pathlib import Path

from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS, OriginalSplit
from mindcv_hrnet.data.sources.folder import ImageFolder, and_more, class_folders, folders_of
from mindcv_hrnet.data.sources.mindrecord import MINDRECORD
from mindcv_hrnet.data.sources.shards import Format, Shards
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.data.sources.tars import TAR
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import expand_home


def open_split(data_dir: str, split: str, class_names: Sequence[str] | None = None, dataset: str = "folder") -> Source:
    """The images of `data_dir/split`, in class folders or in shards; with an empty `split`, of `data_dir` itself.

    A `dataset` of `ORIGINALS` has its files in `data_dir`, and classes of its own. Raises DataError.
    """
    base = existing_folder(data_dir)
    if dataset in ORIGINALS:
        return OriginalSplit(dataset, base, split, class_names)
    kind = _format_of(base / split)
    return Shards(base / split, kind, class_names) if kind else ImageFolder(base / split, class_names)


def existing_folder(data_dir: str) -> Path:
    """The folder of a data set. Raises DataError where there is none."""
    base = expand_home(data_dir)
    if not base.is_dir():
        raise DataError(
            f"{base}: {'not a folder' if base.exists() else 'no such folder'}; set data_dir to your data set"
        )
    return base


def class_names_of(data_dir: str, split: str, dataset: str = "folder") -> tuple[str, ...] | None:
    """Classes of `data_dir/split`; of class folders without looking for images. None where there is no such folder."""
    base = expand_home(data_dir)
    if dataset in ORIGINALS:
        return ORIGINALS[dataset].class_names(base)
    root = base / split
    kind = _format_of(root)
    if kind:
        return Shards(root, kind).class_names
    return tuple(class_folders(os.fspath(root), training=True)) if root.is_dir() else None


def _format_of(root: Path) -> Format | None:
    """How the shards of a split are made; None for class folders. Raises DataError where there are two layouts."""
    kinds = [kind for kind in (TAR, MINDRECORD) if kind.of(os.fspath(root))]
    if len(kinds) > 1:
        raise DataError(f"{root}: holds tar files and MindRecord files; keep one kind, or images count twice")
    folders = folders_of(root) if kinds else []
    if folders:
        raise DataError(
            f"{root}: holds {kinds[0].name} files and a folder '{folders[0]}'{and_more(folders)}; "
            "keep the files or the class folders, one of them would be left out"
        )
    return kinds[0] if kinds else None
