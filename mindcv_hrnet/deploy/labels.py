"""What the outputs of a classifier are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

IMAGENET_CLASSES = 1000
_TABLE = Path(__file__).with_name("imagenet_names.tsv")
_WORDNET = re.compile(r"n\d{8}")


@lru_cache
def label_names(class_names: Sequence[str], classes: int) -> tuple[str, ...]:
    """A label for each of `classes` outputs: the file's own names, with words where they are WordNet's numbers.

    Without names ImageNet's for 1,000 classes, whose order all published networks share; else the numbers from 0.
    """
    if class_names:
        words = imagenet_names() if _WORDNET.fullmatch(class_names[0]) else {}
        return tuple(f"{name} {words[name]}" if name in words else name for name in class_names)
    if classes == IMAGENET_CLASSES:
        return tuple(imagenet_names().values())
    return tuple(map(str, range(classes)))


@lru_cache
def imagenet_names() -> dict[str, str]:
    """WordNet's number of each of ImageNet-1K's classes -> its name, in the order of the classes.

    `scripts/make_imagenet_names.py` writes the table and names its source.
    """
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines())
    return {number: name for number, name in rows}
