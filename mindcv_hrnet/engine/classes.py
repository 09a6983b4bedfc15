"""Class names of weights beside those of a data set: which row of the classifier means which class.

Weights know their names: from the file itself, or from the manifest beside it. Where they do, they decide the numbers.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindcv_hrnet.data.sources.class_names import UnknownClasses
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.errors import CheckpointError, DataError
from mindcv_hrnet.recipe.keys import DataConfig
from mindcv_hrnet.weights import Weights, count_classes
from mindcv_hrnet.weights.manifest import Manifest

logger = logging.getLogger(__name__)

NAMES_SHOWN = 5
OVERRIDE = "--class_names_override True"


def names_of_weights(path: str, weights: Weights) -> tuple[str, ...]:
    """Names of the classifier's rows in their order; empty where nobody knows them. Raises CheckpointError."""
    names, file = weights.class_names, Path(path).resolve()
    if not names:
        manifest = Manifest.read(file.parent)
        names = tuple(manifest.class_names) if manifest and manifest.names(file.name) else ()
    if names and "classifier.weight" in weights.arrays and len(names) != count_classes(weights.arrays, path):
        raise CheckpointError(
            f"{path}: has {count_classes(weights.arrays, path)} classes, but {len(names)} class names; "
            "is the manifest beside it that of another run?"
        )
    return names


def open_numbered(data: DataConfig, split: str, names: Sequence[str], owner: str) -> Source:
    """A split whose classes have the numbers that the weights at `owner` give them; some may be missing.

    DataError lists the differences where the split has a class that the weights do not know.
    """
    try:
        source = open_split(data.data_dir, split, names, data.dataset)
    except UnknownClasses as error:
        raise DataError(f"{error.root}: {differences(error.found, names, owner)}; rename them, {_insist()}") from None
    present = len(np.unique(source.labels))
    if present < len(names):
        logger.warning("%s: has images of %d of the %d classes of %s", source.root, present, len(names), owner)
    return source


def differences(here: Sequence[str], there: Sequence[str], owner: str) -> str:
    """What two lists of names do not have in common, in a clause."""
    only_here, only_there = ([name for name in a if name not in set(b)] for a, b in ((here, there), (there, here)))
    parts = [
        f"{len(names)} {where} ({', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''})"
        for names, where in ((only_here, "only here"), (only_there, "only there"))
        if names
    ]
    return f"its classes are not those of {owner}, {', '.join(parts) or 'but the same in another order'}"


def _insist() -> str:
    return f"or pass {OVERRIDE} to number them as the data set does"
