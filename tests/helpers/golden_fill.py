"""Values for every parameter of a network, as a function of the parameter's name. Needs NumPy only.

Two frameworks that fill the same architecture by this function hold the same network, so that their outputs can be
compared without handing weights around. The values come from the raw output of the counter-based generator Philox,
keyed by the CRC-32 of the name, which is the same on every platform and in every version of NumPy. Scales are chosen
so that activations keep their size through the whole depth and no batch normalisation is the identity.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 values in [-1, 1): the upper 53 bits of each raw draw."""
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return ((raw >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def quick_uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Like `uniform` at the speed of a copy: a stretch of one fixed million of draws, over and over."""
    global _block
    if _block is None:
        _block = uniform("block", (BLOCK,))
    start, count = zlib.crc32(name.encode()) % BLOCK, math.prod(shape)
    rounds = -(-(start + count) // BLOCK)
    flat = _block[start : start + count] if rounds == 1 else np.concatenate([_block] * rounds)[start : start + count]
    return flat.reshape(shape)


BLOCK = 1_000_003
_block: np.ndarray | None = None


def quick_fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 values of the parameter that PyTorch calls `name`."""
    values = quick_uniform(name, shape)
    kind = name.rpartition(".")[2]
    if kind == "weight":
        # A vector scales a batch normalisation
        values = values * math.sqrt(6.0 / math.prod(shape[1:])) if len(shape) > 1 else 0.5 + 0.2 * values
    elif kind == "running_var":
        values = 1.0 + 0.5 * values
    elif kind in ("bias", "running_mean"):
        values = 0.2 * values
    else:
        raise ValueError(f"no rule for the parameter {name!r}")
    return values.astype(np.float32)


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 values of the parameter with this name, as MindCV names it (`layer1.0.bn1.gamma`)."""
    values = uniform(name, shape)
    kind = name.rpartition(".")[2]
    if kind == "weight":
        # Keeps the second moment through a ReLU.
        values *= math.sqrt(6.0 / math.prod(shape[1:]))
    elif kind == "gamma":
        values = 0.5 + 0.2 * values
    elif kind == "moving_variance":
        values = 1.0 + 0.5 * values
    elif kind in ("beta", "bias", "moving_mean"):
        values *= 0.2
    else:
        raise ValueError(f"no rule for the parameter {name!r}")
    return values.astype(np.float32)


def image(shape: tuple[int, ...]) -> np.ndarray:
    """Float32 images (N, C, H, W), about as large as normalised photographs."""
    return (2.0 * uniform("image", shape)).astype(np.float32)
