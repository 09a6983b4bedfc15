"""From weights to a network: exactly, or with the first and the last layer adapted. Nothing is half-loaded."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights.naming import FINEST
from mindcv_hrnet.weights.read import count_classes, read_checkpoint

logger = logging.getLogger(__name__)

NAMES_SHOWN = 3
CLASSIFIER = ("classifier.weight", "classifier.bias")
FIRST = "conv1.weight"

Shapes = Mapping[str, tuple[int, ...]]


def load_weights(network: nn.Cell, path: str) -> None:
    """Put every weight of the checkpoint at `path` into `network`; CheckpointError lists what does not fit."""
    fit_weights(network, read_checkpoint(path), path)


def fit_weights(network: nn.Cell, arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Put `arrays` into `network`. Nothing is changed unless names and shapes all fit."""
    own = shapes_of(network)
    if (
        {name for name in own if name not in arrays or arrays[name].shape != own[name]}
        == set(CLASSIFIER)
        <= set(arrays)
    ):
        theirs, ours = count_classes(arrays, path), own[CLASSIFIER[0]][0]
        raise CheckpointError(f"{path}: has {theirs} classes, the network {ours}; pass --num_classes {theirs}")
    check_fit(own, arrays, path)
    _assign(network, arrays)
    logger.info("weights: %s", path)


def adapt_weights(
    network: nn.Cell,
    arrays: Mapping[str, np.ndarray],
    path: str,
    unused: Sequence[str] = (),
    level: int = logging.WARNING,
) -> None:
    """Put `arrays` into `network`, whose classes and image channels may differ; whatever else differs is an error.

    A classifier of another size keeps its fresh values. A first convolution of other channels is adapted (see
    `adapt_channels`). Weights whose names start with one of `unused` may be left over. Each of these is
    logged, at `level`.
    """
    own = shapes_of(network)
    arrays = dict(arrays)
    left = [name for name in arrays if name not in own and name.startswith(tuple(unused))]
    for name in left:
        del arrays[name]
    fresh = [name for name in CLASSIFIER if name in own and name in arrays and arrays[name].shape != own[name]]
    remarks = [
        f"{name} re-initialised, {_sizes(arrays[name].shape)} in the file, {_sizes(own[name])} here" for name in fresh
    ]
    for name in fresh:
        del arrays[name]
    first = arrays.get(FIRST)
    if first is not None and FIRST in own and _differ_in_channels(first.shape, own[FIRST]):
        arrays[FIRST] = adapt_channels(first, own[FIRST][1])
        how = "summed" if own[FIRST][1] == 1 else "repeated and scaled"
        remarks.append(f"{FIRST} {how} over the image channels, {first.shape[1]} in the file, {own[FIRST][1]} here")
    check_fit({name: shape for name, shape in own.items() if name not in fresh}, arrays, path)
    _assign(network, arrays)
    if left:
        parts = sorted({name.split(".")[0] for name in left})
        remarks.append(f"{len(left)} weights left over, this network has no use for them ({', '.join(parts)})")
    for remark in remarks:
        logger.log(level, "%s: %s", path, remark)
    logger.info("weights: %s, %d tensors loaded", path, len(arrays))


def classifier_by_name(
    network: nn.Cell, arrays: Mapping[str, np.ndarray], theirs: Sequence[str], ours: Sequence[str], path: str
) -> dict[str, np.ndarray]:
    """`arrays` with a classifier of the network's size: each class has the row of its name, or keeps a fresh one.

    theirs, ours: names of the rows in `arrays` and in `network`.
    """
    own, rows = network.parameters_dict(), {name: row for row, name in enumerate(theirs)}
    known = [row for row, name in enumerate(ours) if name in rows]
    result = dict(arrays)
    for key in CLASSIFIER:
        if key not in own or key not in arrays or arrays[key].shape[1:] != tuple(own[key].shape[1:]):
            continue  # no classifier, or one of another network: whoever fits the rest says so
        result[key] = own[key].asnumpy().copy()
        result[key][known] = arrays[key][[rows[ours[row]] for row in known]]
    fresh = [name for name in ours if name not in rows]
    logger.info("%s: %d of %d classes have their rows of the classifier, by name", path, len(known), len(ours))
    if fresh:
        shown = ", ".join(fresh[:NAMES_SHOWN]) + (", ..." if len(fresh) > NAMES_SHOWN else "")
        logger.info("%s: classifier re-initialised for the classes that it does not know (%s)", path, shown)
    return result


def adapt_channels(weight: np.ndarray, channels: int) -> np.ndarray:
    """(C_out, C, k, k) -> (C_out, channels, k, k) that answers alike to an image whose channels are alike.

    One channel: the sum. More: the given ones repeated in order (R, G, B, R, ...), scaled by C / channels.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(axis=1, keepdims=True)
    repeated = np.tile(weight, (1, math.ceil(channels / given), 1, 1))[:, :channels]
    return repeated * np.float32(given / channels)


def shapes_of(network: nn.Cell) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter."""
    return {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items()}


def check_fit(own: Shapes, arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Raise CheckpointError, listing names and shapes, unless the weights are exactly the network's."""
    missing = [name for name in own if name not in arrays]
    unknown = [f"{name} {_sizes(array.shape)}" for name, array in arrays.items() if name not in own]
    shapes = [
        f"{name} is {_sizes(arrays[name].shape)}, the network has {_sizes(own[name])}"
        for name in own
        if name in arrays and arrays[name].shape != own[name]
    ]
    problems = [
        f"{len(names)} {label} ({', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''})"
        for label, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if problems:
        advice = "is it incomplete, or of another network?"
        theirs, ours = (
            found[0] for found in (arrays[FINEST].shape if FINEST in arrays else (0,), own.get(FINEST, (0,)))
        )
        if theirs and ours and theirs != ours:
            advice = f"it is of width {theirs}, the network of width {ours}"
        raise CheckpointError(f"{path}: does not fit the network, {'; '.join(problems)}; {advice}")


def _differ_in_channels(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    return len(theirs) == len(ours) == 4 and theirs != ours and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:])


def _assign(network: nn.Cell, arrays: Mapping[str, np.ndarray]) -> None:
    for name, parameter in network.parameters_dict().items():
        if name in arrays:
            # A copy: the array may be a view of the file's bytes
            parameter.set_data(ms.Tensor(np.array(arrays[name], np.float32)))


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
