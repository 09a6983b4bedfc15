"""One folder of class folders -> `train` and `val`, in every class the same share, for good."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import digest_of, make_folder, reason_of

logger = logging.getLogger(__name__)

TRAIN, VAL = "train", "val"
_READERS = 8  # a share answers several reads at once


@dataclass(frozen=True)
class Split:
    """What a split came to: images by class in each part, files of equal content, classes left without validation."""

    train: dict[str, int]
    val: dict[str, int]
    copies: int
    """Images beside the first one of each content; they lie on the side of the first."""
    mislabelled: tuple[tuple[str, str], ...]
    """Pairs of equal files in two classes: one of the labels is wrong."""


def split_folder(source: Path, target: Path, *, share: float, seed: int = 42, copy: bool = False) -> Split:
    """Lay out `target/train/<class>` and `target/val/<class>`, links to the images below `source/<class>`.

    Of every class `share` of the images goes to `val`, rounded, and at least one stays in `train`. Which ones follows
    from `seed`, class and name alone, by a hash. Files of equal content stay on one side, also across classes. `copy`
    copies instead of linking. Raises DataError where `source` has no class folders or a split already, where `target`
    holds something or lies inside `source`.
    """
    _check_places(source, target)
    images = ImageFolder(source)
    paths = [Path(images.path(index)) for index in range(len(images))]
    labels = [images.class_names[label] for label in images.labels]
    digests = _digests(paths)
    sides = _sides(source, paths, labels, digests, share, seed)
    part = target.with_name(f".{target.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a split that was broken off
    place: Callable[[Path, Path], object] = shutil.copy2 if copy else _link
    counts = {side: dict.fromkeys(images.class_names, 0) for side in (TRAIN, VAL)}
    try:
        for path, label, side in zip(paths, labels, sides, strict=True):
            file = part / side / path.relative_to(source)
            file.parent.mkdir(parents=True, exist_ok=True)
            place(path, file)
            counts[side][label] += 1
        if target.exists():
            target.rmdir()  # empty, as checked
        os.replace(part, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({reason_of(error)}); choose another folder") from None
    first: dict[str, int] = {}
    others = {digest: index for index, digest in enumerate(digests) if first.setdefault(digest, index) != index}
    pairs = [(first[digest], index) for digest, index in others.items()]
    return Split(
        train=counts[TRAIN],
        val=counts[VAL],
        copies=len(digests) - len(first),
        mislabelled=tuple((str(paths[a]), str(paths[b])) for a, b in pairs if labels[a] != labels[b]),
    )


def _check_places(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; name the folder that holds one folder of images per class")
    if (source / TRAIN).is_dir():
        raise DataError(f"{source}: has a '{TRAIN}' folder, so it is split already; train on it as it is")
    inside, outside = target.resolve(), source.resolve()
    if inside == outside or outside in inside.parents:
        raise DataError(f"{target}: lies inside {source}; choose a folder beside it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: holds something already; choose a new folder")
    make_folder(target.parent)


def _digests(paths: list[Path]) -> list[str]:
    """A digest of each file's content; files that share their size with no other are told apart by it alone."""
    sizes = [_size(path) for path in paths]
    seen: dict[int, int] = {}
    for size in sizes:
        seen[size] = seen.get(size, 0) + 1
    with ThreadPoolExecutor(_READERS, thread_name_prefix="digest") as pool:
        return list(pool.map(lambda p, s: _digest(p) if seen[s] > 1 else f"{s} bytes", paths, sizes))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)}); replace or remove the file") from None


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)}); replace or remove the file") from None


def _sides(
    source: Path, paths: list[Path], labels: list[str], digests: list[str], share: float, seed: int
) -> list[str]:
    """`train` or `val` for every path: class by class the lowest hashes go to `val`, each with all of its copies."""

    def draw(index: int) -> bytes:
        name = os.fsencode(str(paths[index].relative_to(source)))
        return hashlib.sha256(f"{seed}:".encode() + name).digest()

    groups: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    by_class: dict[str, list[list[int]]] = {}
    for members in groups.values():
        by_class.setdefault(labels[members[0]], []).append(members)
    sides = [TRAIN] * len(paths)
    for own in by_class.values():
        total = sum(map(len, own))
        left = min(round(share * total), total - 1)
        for members in sorted(own, key=lambda members: draw(members[0])):
            if len(members) <= left:
                left -= len(members)
                for index in members:
                    sides[index] = VAL
    return sides


def _link(path: Path, link: Path) -> None:
    link.symlink_to(path.resolve())
