"""Images in tar files: one tar per class, class folders inside tars, or WebDataset pairs.

A member's class is, in this order: the number in its pair's `.cls` member; its folder inside the tar; the tar's own
name.
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from mindcv_hrnet.data.folder_index import SUFFIXES
from mindcv_hrnet.data.shards import Format, Member, files_in
from mindcv_hrnet.errors import DataError


def tar_files(root: str) -> list[str]:
    """`*.tar`, in the order of the names without the suffix: that of class folders."""
    return sorted(files_in(root, lambda name: name.endswith(".tar")), key=lambda path: path.removesuffix(".tar"))


def tar_members(tar: str) -> Iterator[Member]:
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
    except DataError:
        raise
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"{tar}: cannot be read ({error}); is it a complete tar file?") from None
    for key, info in images.items():
        folder = os.path.basename(os.path.dirname(info.name))
        yield Member(info.offset_data, info.size, info.name, numbers.get(key, folder or stem))


TAR = Format("tar", tar_files, tar_members)
