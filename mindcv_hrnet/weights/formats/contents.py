"""What a reader of any format finds in a file: tensors, and the names of the classes where the file carries them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CLASS_NAMES = "class_names"
"""What the entry is called: a text beside a .ckpt's tensors, metadata of safetensors, a record of a .pth's zip."""


class Contents(NamedTuple):
    """`class_names` is in the order of the classifier's rows; empty where the file does not tell."""

    arrays: dict[str, np.ndarray]
    remarks: list[str]
    class_names: tuple[str, ...] = ()


def class_names_to_text(names: Sequence[str]) -> str:
    """The names as every format stores them."""
    return json.dumps(list(names), ensure_ascii=False)


def class_names_from_text(text: str | bytes) -> tuple[str, ...]:
    """The names that a file stores. Raises ValueError."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its entry {CLASS_NAMES} is no list of names")
    return tuple(names)
