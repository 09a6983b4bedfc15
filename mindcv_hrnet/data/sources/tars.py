"""Images in tar files: one tar per class, class folders inside tars, or WebDataset pairs.

A member's class is, in this order: the number in its pair's `.cls` member; its folder inside the tar; the tar's own
name. As in WebDataset, a pair's common key ends at the first dot of the base name.
"""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from mindcv_hrnet.data.sources.folder_index import SUFFIXES
from mindcv_hrnet.data.sources.shards import Format, Member, files_in
from mindcv_hrnet.errors import DataError

CLASS_SUFFIX = ".cls"
_LONGEST_NUMBER = 32  # bytes
_MOST_LINKS = 40  # from link to link, as Linux has it


def tar_files(root: str) -> list[str]:
    """`*.tar`, in the order of the names without the suffix: that of class folders."""
    return sorted(files_in(root, lambda name: name.endswith(".tar")), key=lambda path: path.removesuffix(".tar"))


def tar_members(tar: str) -> Iterator[Member]:
    """The images of a tar with their labels."""
    try:
        with tarfile.open(tar, "r:") as archive:
            files = _by_name(complete_members(archive, tar), tar)
            images = {name: info for name, info in files.items() if _suffix(name) in SUFFIXES}
            numbers = _numbers(archive, files, tar)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{tar}: cannot be read ({error}); is it a complete tar file?") from None
    if numbers:
        _one_image_per_key(images, tar)
    stem = Path(tar).name.removesuffix(".tar")
    for name, info in images.items():
        target = _target(name, info, files, tar)
        folder = posixpath.basename(posixpath.dirname(name))
        yield Member(target.offset_data, target.size, name, numbers.get(_key(name), folder or stem))


def complete_members(archive: tarfile.TarFile, name: str) -> list[tarfile.TarInfo]:
    """All members of an open tar, which must have its end. Raises DataError, naming the tar `name`."""
    try:
        members = archive.getmembers()
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        # Python takes a damaged header, or none, for the end; the real one is two blocks of zeros, of some writers one
        tail = archive.fileobj.read(2 * tarfile.BLOCKSIZE)
    except (tarfile.TarError, ValueError):
        tail = b""
    if len(tail) < tarfile.BLOCKSIZE or any(tail):
        raise DataError(f"{name}: ends early or is damaged at byte {archive.offset}; copy or download it again")
    return members


def _by_name(members: list[tarfile.TarInfo], tar: str) -> dict[str, tarfile.TarInfo]:
    """The files and links by their names, `./` and the like taken out; names that start with a dot are left out."""
    files: dict[str, tarfile.TarInfo] = {}
    for info in members:
        name = posixpath.normpath(info.name)
        if posixpath.basename(name).startswith(".") or not (info.isfile() or info.islnk() or info.issym()):
            continue
        if name in files and _suffix(name) in (*SUFFIXES, CLASS_SUFFIX):
            raise DataError(f"{tar}: holds {name} twice; keep one")
        files[name] = info
    return files


def _numbers(archive: tarfile.TarFile, files: dict[str, tarfile.TarInfo], tar: str) -> dict[str, int]:
    """The class numbers in `.cls` members, by key."""
    numbers: dict[str, int] = {}
    for name, info in files.items():
        if _suffix(name) != CLASS_SUFFIX:
            continue
        file = archive.extractfile(_target(name, info, files, tar))
        assert file is not None
        text = file.read(_LONGEST_NUMBER).decode(errors="replace").strip()
        if not text.isdecimal():
            raise DataError(f"{tar}: {name} holds {text!r}, not a class number; write a number from 0 on")
        if _key(name) in numbers:
            raise DataError(f"{tar}: holds {name} and another {CLASS_SUFFIX} of the key {_key(name)}; keep one")
        numbers[_key(name)] = int(text)
    return numbers


def _one_image_per_key(images: dict[str, tarfile.TarInfo], tar: str) -> None:
    names: dict[str, str] = {}
    for name in images:
        other = names.setdefault(_key(name), name)
        if other != name:
            raise DataError(f"{tar}: holds {other} and {name}; one image per key (up to the first dot)")


def _target(name: str, info: tarfile.TarInfo, files: dict[str, tarfile.TarInfo], tar: str) -> tarfile.TarInfo:
    """The member that has the content of `info`: a link's is where it points."""
    place, found = name, info
    for _ in range(_MOST_LINKS):
        if found.isfile():
            return found
        # a hard link names a member, a symbolic one a path from its own folder
        base = posixpath.dirname(place) if found.issym() else ""
        place = posixpath.normpath(posixpath.join(base, found.linkname))
        if place not in files:
            break
        found = files[place]
    raise DataError(f"{tar}: {name} is a link to {info.linkname}, no file in the tar; pack with tar --dereference")


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


TAR = Format("tar", tar_files, tar_members)
