"""CIFAR and MNIST in the files that their authors publish, a split at a time in memory (at most 154 MB).

CIFAR comes in its binary version: a record is its label bytes, of which the last one counts (CIFAR-100: coarse, fine),
and 3 x 32 x 32 bytes, colour by colour. MNIST and Fashion-MNIST come as IDX: big-endian magic number and sizes, then
bytes; images and labels in a file each, plain or .gz.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindcv_hrnet.data.sources.class_names import numbers_of
from mindcv_hrnet.errors import DataError, nearest
from mindcv_hrnet.runtime.files import reason_of

# MindCV's name of the second split, and what every recipe here calls it
TRAINING, TESTING = ("train",), ("test", "val")
_SIDE, _COLOURS = 32, 3
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, in one


@dataclass(frozen=True)
class Original:
    """A published data set. `training` and `test` are the names of the files that hold the splits, without .gz.

    address, md5: where the authors have it, and the published checksum of each file there.
    """

    address: str
    md5: dict[str, str]
    training: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """What the user should do with which files."""
        return f"{', '.join(self.md5)} there"

    def find(self, base: Path, name: str) -> Path | None:
        """The file below `base`, or None."""
        raise NotImplementedError

    def files(self, split: str) -> tuple[str, ...]:
        """Names of what a split needs."""
        return self.training if split in TRAINING else self.test

    def missing(self, base: Path, *splits: str) -> list[str]:
        """What the splits need and `find` does not find."""
        names = dict.fromkeys(name for split in splits for name in self.files(split))
        return [name for name in names if self.find(base, name) is None]

    def class_names(self, base: Path) -> tuple[str, ...] | None:
        """None where they are in a file that is not there. Raises DataError."""
        raise NotImplementedError

    def read(self, paths: list[Path], classes: int) -> tuple[np.ndarray, np.ndarray]:
        """The files of a split -> (N, H, W, 3 or 1) uint8 images, (N,) int32 labels below `classes`; DataError."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cifar(Original):
    """`folder`: what the archive unpacks to. `names`: the file with a class name per line."""

    folder: str
    names: str
    classes: int
    label_bytes: int

    @property
    def wanted(self) -> str:
        """The archive, which the user should unpack."""
        return f"{super().wanted} and unpack it"

    def files(self, split: str) -> tuple[str, ...]:
        """The split's batches, and last the file of the class names."""
        return (*super().files(split), self.names)

    def find(self, base: Path, name: str) -> Path | None:
        """In `base`, or in the folder that the archive unpacks to."""
        return next((path for path in (base / name, base / self.folder / name) if path.is_file()), None)

    def class_names(self, base: Path) -> tuple[str, ...] | None:
        """One name a line of the file; DataError where they are not as many as the classes."""
        path = self.find(base, self.names)
        if path is None:
            return None
        names = tuple(filter(None, map(str.strip, _content(path).decode("utf-8", "replace").split("\n"))))
        if len(names) != self.classes:
            raise DataError(f"{path}: has {len(names)} names for {self.classes} classes; fetch the file again")
        return names

    def read(self, paths: list[Path], classes: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 32, 32, 3) images; DataError for a file that is cut or of another version."""
        size = self.label_bytes + _COLOURS * _SIDE * _SIDE
        parts = []
        for path in paths[:-1]:  # the last one has the names
            content = _content(path)
            if not content or len(content) % size:
                raise DataError(
                    f"{path}: {len(content)} bytes are no whole number of records of {size}; it is truncated or of "
                    "another version than the binary one, fetch it again"
                )
            records = np.frombuffer(content, np.uint8).reshape(-1, size)
            _check_labels(path, records[:, self.label_bytes - 1], classes)
            parts.append(records)
        joined = np.concatenate(parts)
        planes = joined[:, self.label_bytes :].reshape(-1, _COLOURS, _SIDE, _SIDE)
        return planes.transpose(0, 2, 3, 1), joined[:, self.label_bytes - 1].astype(np.int32)


@dataclass(frozen=True)
class Idx(Original):
    """`training` and `test`: the images' file, the labels' file."""

    labels: tuple[str, ...]

    def find(self, base: Path, name: str) -> Path | None:
        """Plain or .gz, in `base`."""
        return next((path for path in (base / name, base / f"{name}.gz") if path.is_file()), None)

    def class_names(self, base: Path) -> tuple[str, ...] | None:
        """The published ones; no file has them."""
        return self.labels

    def read(self, paths: list[Path], classes: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 28, 28, 1) images; DataError for files that do not belong together."""
        images, labels = _read_idx(paths[0], _IMAGES_MAGIC), _read_idx(paths[1], _LABELS_MAGIC)
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{paths[0]}: holds {len(images)} images, {paths[1].name} {len(labels)} labels; fetch both again"
            )
        _check_labels(paths[1], labels, classes)
        return images[..., None], labels.astype(np.int32)


_IDX_TRAINING = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_IDX_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

ORIGINALS: dict[str, Original] = {
    "cifar10": Cifar(
        address="https://www.cs.toronto.edu/~kriz/",
        md5={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        training=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        folder="cifar-10-batches-bin",
        names="batches.meta.txt",
        classes=10,
        label_bytes=1,
    ),
    "cifar100": Cifar(
        address="https://www.cs.toronto.edu/~kriz/",
        md5={"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        training=("train.bin",),
        test=("test.bin",),
        folder="cifar-100-binary",
        names="fine_label_names.txt",
        classes=100,
        label_bytes=2,
    ),
    "mnist": Idx(
        address="https://ossci-datasets.s3.amazonaws.com/mnist/",  # the author's own page sends no files any more
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        training=_IDX_TRAINING,
        test=_IDX_TEST,
        labels=tuple("0123456789"),
    ),
    "fashion_mnist": Idx(
        address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        training=_IDX_TRAINING,
        test=_IDX_TEST,
        labels=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
}


class OriginalSplit:
    """The images of one split, in the order of the files: a `Source`. labels: (N,) int32. Raises DataError."""

    def __init__(self, dataset: str, base: Path, split: str, class_names: Sequence[str] | None = None) -> None:
        original = ORIGINALS[dataset]
        if split not in TRAINING + TESTING:
            raise DataError(
                f"{base}: {dataset} has no split '{split}'{nearest(split, TRAINING + TESTING)}; "
                "choices: train, test, val (the last two are the same files)"
            )
        self.root, self._split = os.fspath(base), split
        missing = original.missing(base, split)
        if missing:
            raise DataError(
                f"{base}: no {missing[0]} for {dataset}; put {original.wanted}, or pass --dataset_download True"
            )
        paths = [path for name in original.files(split) if (path := original.find(base, name))]
        names = original.class_names(base)
        assert names is not None, "their file is not missing"
        self.class_names = tuple(class_names) if class_names is not None else names
        numbers = numbers_of(names, self.class_names, self.root, "they are fixed")
        self._images, labels = original.read(paths, len(names))
        self.labels = numbers[labels]
        height, width, channels = self._images.shape[1:]
        self._header = b"P%d %d %d 255\n" % (6 if channels == _COLOURS else 5, width, height)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """The folder, the split and the image's number in it, for messages."""
        return f"{self.root}: {self._split} image {index}"

    def read(self, index: int) -> bytes:
        """The image as a PNM file, which decodes to the same bytes in a few microseconds."""
        return self._header + self._images[index].tobytes()


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)}); fetch the file again") from None


def _read_idx(path: Path, magic: int) -> np.ndarray:
    """The array in an IDX file of bytes, with as many dimensions as the magic number says."""
    content = _content(path)
    start = 4 + 4 * (magic & 0xFF)
    if len(content) < start or content[:4] != magic.to_bytes(4, "big"):
        raise DataError(
            f"{path}: starts with {content[:4].hex() or 'nothing'}, not {magic:08x}; it is no IDX file of "
            f"{'images' if magic == _IMAGES_MAGIC else 'labels'}, fetch it again"
        )
    shape = struct.unpack(f">{magic & 0xFF}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: holds {len(content) - start} bytes, its header tells of {' x '.join(map(str, shape))}; "
            "it is truncated or damaged, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _check_labels(path: Path, labels: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise DataError(
            f"{path}: image {wrong[0]} has label {labels[wrong[0]]}, the labels are 0 to {classes - 1}; "
            "fetch the file again"
        )
