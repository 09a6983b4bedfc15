"""Between the names of PyTorch (official HRNet and timm) and those of MindCV, which are this package's.

PyTorch's HRNets have a bias on four convolutions of the head. Behind each stands a batch normalisation, which subtracts
a mean: `(x + bias) - mean = x - (mean - bias)`. So the bias folds into the moving mean, and zero takes its place on the
way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
NORM_BACK = {ours: theirs for theirs, ours in NORM.items()}
SEGMENTS = {"downsample": "down_sample", "downsamp_modules": "downsample_modules"}
SEGMENTS_BACK = {ours: theirs for theirs, ours in SEGMENTS.items()}
COUNTER = "num_batches_tracked"
PREFIXES = ("module.", "_orig_mod.")
"""What wrappers (DataParallel, compile) put before each name."""
HEAD_BIAS = re.compile(r"(downsamp_modules\.\d+|final_layer)\.0\.bias")
OPTIMIZER_PREFIX = re.compile(r"\w+")
AVERAGE = "ema."
FINEST = "stage4.0.branches.0.0.conv1.weight"
"""A weight with as many channels as the branch at stride 4."""

Arrays = dict[str, np.ndarray]


def to_network(arrays: Mapping[str, np.ndarray]) -> tuple[Arrays, list[str]]:
    """(weights by MindCV's names, remarks) of the entries of a file. What is not known keeps its name."""
    found, remarks = dict(arrays), []
    for prefix in PREFIXES * 2:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): array for name, array in found.items()}
            remarks.append(f"{prefix!r} removed from {len(found)} names")
    convert = _from_pytorch if any(name.endswith("running_mean") for name in found) else _without_optimizer
    found, more = convert(found)
    return {name: as_float32(array) for name, array in found.items()}, remarks + more


def as_float32(array: np.ndarray) -> np.ndarray:
    """Floats of any width as float32; anything else as it is."""
    return array.astype(np.float32) if array.dtype.kind == "f" and array.dtype != np.float32 else array


def _from_pytorch(arrays: Arrays) -> tuple[Arrays, list[str]]:
    norms = {name.rpartition(".")[0] for name in arrays if name.endswith("running_mean")}
    biases = [name for name in arrays if HEAD_BIAS.fullmatch(name) and name.removesuffix("0.bias") + "1" in norms]
    counters = [name for name in arrays if name.endswith(COUNTER)]
    result = {}
    for name in _in_our_order(arrays, norms):
        if name in biases or name in counters:
            continue
        array = arrays[name]
        owner, _, kind = name.rpartition(".")
        bias = f"{owner.removesuffix('1')}0.bias"
        if kind == "running_mean" and bias in biases:
            array = as_float32(array) - as_float32(arrays[bias])
        result[to_mindcv_name(name, owner in norms)] = array
    remarks = ["PyTorch's names turned into MindCV's, such as layer1.0.bn1.weight -> layer1.0.bn1.gamma"]
    if counters:
        remarks.append(f"{len(counters)} counters left out ({COUNTER})")
    if biases:
        remarks.append(f"{len(biases)} biases folded into the moving means behind them ({', '.join(biases)})")
    return result, remarks


def _in_our_order(arrays: Arrays, norms: set[str]) -> list[str]:
    """PyTorch's names, those of a batch normalisation in MindCV's order: statistics before what is trained."""
    order = {"running_mean": 0, "running_var": 1, "weight": 2, "bias": 3}
    names = list(arrays)
    first = {name.rpartition(".")[0]: position for position, name in reversed(list(enumerate(names)))}

    def place(position: int) -> tuple[int, int]:
        owner, _, kind = names[position].rpartition(".")
        return (first[owner], order.get(kind, len(order))) if owner in norms else (position, 0)

    return [names[position] for position in sorted(range(len(names)), key=place)]


def _without_optimizer(arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Drop what a training checkpoint keeps for the optimizer: scalars, and copies of parameters under a prefix."""

    def prefix_of(name: str) -> str:
        prefix, _, rest = name.partition(".")
        return prefix if rest in arrays and OPTIMIZER_PREFIX.fullmatch(prefix) else ""

    def belongs_to_training(name: str) -> bool:
        counts = "." not in name and (arrays[name].size == 1 or name.startswith("learning_rate"))
        return counts or bool(prefix_of(name))

    own = {name: array for name, array in arrays.items() if not belongs_to_training(name)}
    gone: dict[str, int] = {}
    for name in arrays:
        if name not in own:
            kind = f"{prefix_of(name)}.*" if prefix_of(name) else name
            gone[kind] = gone.get(kind, 0) + 1
    remarks = []
    if all(AVERAGE + name in arrays for name in own) and own:
        own = {name: arrays[AVERAGE + name] for name in own}
        gone.pop(f"{AVERAGE}*")
        remarks.append("the moving average 'ema.*' taken instead of the weights themselves")
    if gone:
        kinds = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in gone.items())
        remarks.append(f"{sum(gone.values())} entries of the training left out: {kinds}")
    return own, remarks


def to_mindcv_name(name: str, is_norm: bool) -> str:
    """`layer1.0.downsample.1.weight`, the weight of a batch normalisation -> `layer1.0.down_sample.1.gamma`."""
    *owner, kind = name.split(".")
    return ".".join([*(SEGMENTS.get(part, part) for part in owner), NORM.get(kind, kind) if is_norm else kind])


def to_pytorch(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """A state dict that the official HRNet and timm load strictly, of weights by MindCV's names."""
    result: Arrays = {}
    for name, array in arrays.items():
        owner, _, kind = name.rpartition(".")
        if kind == "moving_mean":
            # PyTorch's order within a layer: weight, bias, mean, variance, counter
            for ours in ("gamma", "beta", "moving_mean", "moving_variance"):
                result[to_pytorch_name(f"{owner}.{ours}")] = arrays[f"{owner}.{ours}"]
            result[to_pytorch_name(f"{owner}.{COUNTER}")] = np.zeros((), np.int64)
        elif kind not in NORM_BACK:
            result[to_pytorch_name(name)] = array
            bias = to_pytorch_name(f"{owner}.bias")
            if kind == "weight" and HEAD_BIAS.fullmatch(bias):
                result[bias] = np.zeros(array.shape[0], array.dtype)
    return result


def to_pytorch_name(name: str) -> str:
    """`layer1.0.down_sample.1.gamma` -> `layer1.0.downsample.1.weight`."""
    *owner, kind = name.split(".")
    return ".".join([*(SEGMENTS_BACK.get(part, part) for part in owner), NORM_BACK.get(kind, kind)])
