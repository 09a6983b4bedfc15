"""Randomness as a function: every random number of the data path follows from what it is for.

A generator is keyed by (seed, purpose) and starts at a counter made of (epoch, index). Nothing is shared or advanced
between calls, so neither threads, nor ranks, nor the step that a run resumes at can change a draw.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence


class Purpose(IntEnum):
    """What a stream of numbers is for; two purposes are independent. The values are part of the key: never renumber."""

    ORDER = 1
    SAMPLE = 2
    MIX = 3
    REPLACEMENT = 4
    ERASE_NOISE = 5
    DROP = 6


class _Key(ISeedSequence):
    """Hands a ready key to Philox; the usual SeedSequence costs more than decoding a small image saves."""

    def __init__(self, key: np.ndarray) -> None:
        self.key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return self.key


def generator(seed: int, purpose: Purpose, epoch: int = 0, index: int = 0, part: int = 0) -> np.random.Generator:
    """A fresh Philox4x64 generator for (seed, purpose, epoch, index, part); integers of any size below 2**64."""
    key = np.array([seed, purpose], dtype=np.uint64)
    # the lowest word counts the blocks drawn, so two streams never overlap
    counter = np.array([0, part, index, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(_Key(key), counter=counter))  # type: ignore[arg-type]


def uniforms(seed: int, purpose: Purpose, epoch: int, index: int, count: int) -> list[float]:
    """`count` numbers in [0, 1): one block, which the steps of a transform share out by position."""
    return generator(seed, purpose, epoch, index).random(count).tolist()
