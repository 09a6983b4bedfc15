"""Any checkpoint file -> weights by MindCV's names, all of them or none. What a file is, its content tells."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import expand_home, reason_of
from mindcv_hrnet.weights.formats.contents import Contents
from mindcv_hrnet.weights.formats.mindspore import read_ckpt
from mindcv_hrnet.weights.formats.pickle import PickleRefused
from mindcv_hrnet.weights.formats.pytorch import read_legacy, read_zip
from mindcv_hrnet.weights.formats.safetensors import read_safetensors
from mindcv_hrnet.weights.naming import to_network

logger = logging.getLogger(__name__)

START_BYTES = 512
LFS_POINTER = b"version https://git-lfs"

Reader = Callable[[Path], Contents]


@dataclass(frozen=True)
class Weights:
    """A network's weights as a file gave them."""

    kind: str
    """What the file is, for people."""
    entries: int
    """Tensors in the file, used or not."""
    arrays: dict[str, np.ndarray]
    """By MindCV's names, float32."""
    remarks: tuple[str, ...]
    """What was done to get here, one line each."""
    class_names: tuple[str, ...] = ()
    """In the order of the classifier's rows; empty where the file does not tell."""

    def log_remarks(self, path: str) -> None:
        """Say what was left out or renamed."""
        for remark in self.remarks:
            logger.info("%s: %s", path, remark)


def read_weights(path: str) -> Weights:
    """The network weights in any kind of file. CheckpointError: one line naming the file and what is wrong with it."""
    kind, contents = _read(path)
    arrays, more = to_network(contents.arrays)
    check_finite(arrays, path)
    strange = [name for name, array in arrays.items() if array.dtype.kind != "f"]
    if strange:
        raise CheckpointError(f"{path}: {strange[0]} holds {arrays[strange[0]].dtype} values; weights are floats")
    remarks = (*contents.remarks, *more)
    return Weights(kind, len(contents.arrays), arrays, remarks, contents.class_names)


def read_checkpoint(path: str) -> dict[str, np.ndarray]:
    """Name -> weight of the network in any kind of file, or a one-line CheckpointError. Logs what was left out."""
    weights = read_weights(path)
    weights.log_remarks(path)
    return weights.arrays


def read_entries(path: str) -> dict[str, np.ndarray]:
    """Every tensor of the file by the name it has there, as a training state needs them."""
    _, contents = _read(path)
    check_finite(contents.arrays, path)
    return contents.arrays


def count_classes(arrays: Mapping[str, np.ndarray], path: str) -> int:
    """Classes of the classifier in a checkpoint."""
    if "classifier.weight" not in arrays:
        raise CheckpointError(f"{path}: has no classifier.weight; it is not a checkpoint of an HRNet classifier")
    return int(arrays["classifier.weight"].shape[0])


def check_finite(arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Raise CheckpointError where a value is NaN or infinite."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; use an earlier checkpoint")


def _read(path: str) -> tuple[str, Contents]:
    """What a file is, for people, and what it holds."""
    if not path:
        raise CheckpointError("ckpt_path is empty; pass --ckpt_path FILE")
    file = expand_home(path)
    if not file.exists():
        raise CheckpointError(f"{path}: checkpoint not found; check the path")
    if file.is_dir():
        raise CheckpointError(f"{path}: is a folder; pass a checkpoint file, such as {path}/NAME-best.ckpt")
    if not file.is_file():
        raise CheckpointError(f"{path}: is a pipe or a device, not a file; pass a checkpoint file")
    try:
        with open(file, "rb") as stream:
            start = stream.read(START_BYTES)
        kind, read = _kind(start, path)
        return kind, read(file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason_of(error)})") from None
    except CheckpointError:
        raise
    except PickleRefused as error:
        raise CheckpointError(f"{path}: the {kind} {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        detail = reason_of(error) if isinstance(error, (ValueError, zipfile.BadZipFile)) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a {kind} ({detail}); is it complete?") from None


def _kind(start: bytes, path: str) -> tuple[str, Reader]:
    """What a file is by its first bytes, and what reads it."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise CheckpointError(f"{path}: is empty; fetch or copy it again")
    if text.startswith(b"<"):
        raise CheckpointError(f"{path}: is a web page (HTML or XML), not a checkpoint; fetch the file itself")
    if start.startswith(LFS_POINTER):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file it points to; fetch it with 'git lfs pull'")
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh")) or start[257:262] == b"ustar":
        raise CheckpointError(f"{path}: is an archive, not a checkpoint; unpack it first")
    if start[4:9] == b"\0\0\0\0{":  # of eight bytes of length; the first may be anything
        return "safetensors file", read_safetensors
    if start.startswith(b"PK"):
        return "PyTorch file (zip)", read_zip
    if start.startswith(b"\x80"):
        return "PyTorch file (legacy)", read_legacy
    return "MindSpore checkpoint", read_ckpt
