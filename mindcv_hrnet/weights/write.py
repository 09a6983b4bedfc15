"""Weights by MindCV's names -> a file of the kind that its suffix says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.runtime.files import write_atomically
from mindcv_hrnet.weights.formats.mindspore import write_ckpt
from mindcv_hrnet.weights.formats.pytorch import write_zip
from mindcv_hrnet.weights.formats.safetensors import write_safetensors
from mindcv_hrnet.weights.naming import to_pytorch

FILE_KINDS = {
    ".ckpt": "MindSpore checkpoint",
    ".pth": "PyTorch file (zip)",
    ".pt": "PyTorch file (zip)",
    ".tar": "PyTorch file (zip)",
    ".safetensors": "safetensors file",
}


def default_names(path: Path) -> str:
    """Whose names a file of this kind has unless asked otherwise: safetensors files of HRNets are timm's."""
    if path.suffix not in FILE_KINDS:
        raise UserError(f"{path}: the suffix says what to write; choices: {', '.join(FILE_KINDS)}")
    return "mindcv" if path.suffix == ".ckpt" else "pytorch"


def write_weights(
    arrays: Mapping[str, np.ndarray], path: Path, names: str = "", class_names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Write the weights atomically, and return them by the names that they have in the file.

    `class_names`, in the order of the classifier's rows, travel in the file.
    """
    names = names or default_names(path)
    named = to_pytorch(arrays) if names == "pytorch" else dict(arrays)
    if path.suffix == ".ckpt":
        write_atomically(path, lambda file: write_ckpt(named, file, class_names))
    elif path.suffix == ".safetensors":
        metadata = {"format": "pt" if names == "pytorch" else "np"}
        write_atomically(path, lambda file: write_safetensors(named, file, metadata, class_names))
    else:
        write_atomically(path, lambda file: write_zip(named, file, class_names))
    return named
