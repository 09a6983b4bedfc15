"""`dataset_download`: the original files from where their authors have them, checked, once."""

import logging
import os
import shutil
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import IO

from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS, Cifar, Original
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.keys import DataConfig
from mindcv_hrnet.runtime.distributed import launcher_of
from mindcv_hrnet.runtime.download import Checksum, NotFetched, WrongContent, obtain
from mindcv_hrnet.runtime.files import expand_home, make_folder, reason_of, write_atomically
from mindcv_hrnet.runtime.locks import exclusive_lock

logger = logging.getLogger(__name__)


def download_dataset(data: DataConfig) -> None:
    """Where the recipe says `dataset_download`, bring what is missing of the data set into `data_dir`.

    Of several processes on one `data_dir` one downloads and the others wait. A broken-off download goes on where it
    stopped. Files that are there are taken as they are. Raises DataError, RunError.
    """
    if not data.dataset_download:
        return
    original, base = ORIGINALS[data.dataset], expand_home(data.data_dir)
    if not original.missing(base, "train", "test"):  # before anything is written: the folder may be read-only
        return
    make_folder(base)
    if launcher_of(os.environ)[1] > 0:
        time.sleep(1)  # leaves the work to the first rank, which is the one that shows progress
    try:
        with exclusive_lock(base / f".{data.dataset}.lock"):
            _bring(original, base, original.missing(base, "train", "test"))
    except OSError as error:
        raise DataError(f"{base}: cannot be written ({reason_of(error)}); choose another data_dir") from None


def _bring(original: Original, base: Path, missing: list[str]) -> None:
    if isinstance(original, Cifar):
        if missing:
            (archive,) = original.md5
            own = (base / archive).exists()
            _unpack(_fetch(original, archive, base), original.folder, missing)
            if not own:
                (base / archive).unlink()
    else:
        for name in missing:
            _fetch(original, f"{name}.gz", base)


def _fetch(original: Original, name: str, base: Path) -> Path:
    """`base/name`, downloaded unless it is there with the right checksum."""
    url, target = original.address + name, base / name
    logger.info("fetching %s into %s", url, base)
    try:
        obtain(url, target, Checksum("md5", original.md5[name]))
    except WrongContent as problem:
        raise DataError(f"{url}: {problem}; the file is not the original one and was removed") from None
    except NotFetched as problem:
        raise DataError(f"{url}: {problem}; get {name} from elsewhere and put it into {base}") from None
    return target


def _unpack(archive: Path, folder: str, names: list[str]) -> None:
    """Write `folder/<name>` out of a .tar.gz beside it; each file is whole or absent, and no other one is written."""
    make_folder(archive.parent / folder)
    with tarfile.open(archive, "r:gz") as tar:
        for name in names:
            member = tar.extractfile(f"{folder}/{name}")
            assert member is not None, "its checksum has shown that it is the original archive"
            write_atomically(archive.parent / folder / name, partial(_copy, member))


def _copy(content: IO[bytes], path: Path) -> None:
    with open(path, "wb") as file:
        shutil.copyfileobj(content, file)
