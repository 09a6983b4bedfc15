"""Which samples, in which order: pure functions of (seed, epoch, rank, size).

Step s of an epoch takes samples [s * G, (s + 1) * G) of the epoch's order, where G = batch_size * size is the global
batch size, and rank r takes every size-th of them. So the samples of a step do not depend on how many ranks share it.
"""

from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data.rng import Purpose, generator
from mindcv_hrnet.errors import DataError


@dataclass(frozen=True)
class TrainSampler:
    """Order of a training set of `length` samples.

    An epoch has `num_samples` entries (all when None), drawn anew each epoch, or the first ones when not `shuffle`.
    An entry is `repeat * length + sample`: with `repeats` > 1 each drawn sample comes that often in a row, on different
    ranks where there are several, and an epoch keeps its length. Without `drop_remainder` the last batch is filled with
    the epoch's first samples, so that every batch has the same shape.
    """

    length: int
    batch_size: int
    seed: int
    rank: int = 0
    size: int = 1
    shuffle: bool = True
    num_samples: int | None = None
    drop_remainder: bool = True
    repeats: int = 1

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.size
        if self.num_samples is not None and self.num_samples > self.length:
            raise DataError(
                f"num_samples {self.num_samples} is more than the {self.length} training samples there are; lower it"
            )
        if self.steps_per_epoch == 0:
            raise DataError(
                f"{self.epoch_samples} training samples do not fill one global batch of {self.global_batch_size} "
                f"(batch_size {self.batch_size} x {self.size} devices); lower batch_size or set drop_remainder False"
            )

    @property
    def global_batch_size(self) -> int:
        """Samples of a step over all ranks."""
        return self.batch_size * self.size

    @property
    def epoch_samples(self) -> int:
        """Entries drawn in an epoch, before the last batch is dropped or filled."""
        return self.length if self.num_samples is None else self.num_samples

    @property
    def steps_per_epoch(self) -> int:
        """Batches of each rank in an epoch."""
        full, rest = divmod(self.epoch_samples, self.global_batch_size)
        return full if self.drop_remainder or not rest else full + 1

    def order(self, epoch: int) -> np.ndarray:
        """(steps_per_epoch * global_batch_size,) int64: every rank's entries of an epoch."""
        if self.shuffle:
            samples = generator(self.seed, Purpose.ORDER, epoch).permutation(self.length)
        else:
            samples = np.arange(self.length, dtype=np.int64)
        drawn = samples[: -(-self.epoch_samples // self.repeats)]
        entries = (drawn[:, None] + self.length * np.arange(self.repeats)).ravel()[: self.epoch_samples]
        # resize repeats from the start where the last batch needs filling
        return np.resize(entries, self.steps_per_epoch * self.global_batch_size)

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """(batch_size,) int64: this rank's entries of a step, out of `order(epoch)`."""
        start = step * self.global_batch_size
        return order[start + self.rank : start + self.global_batch_size : self.size]


@dataclass(frozen=True)
class EvalSampler:
    """Every one of `length` samples exactly once, in order, in batches of one shape and equally many on each rank."""

    length: int
    batch_size: int
    rank: int = 0
    size: int = 1

    @property
    def steps(self) -> int:
        """Batches of each rank that it takes to see every sample."""
        return -(-self.length // (self.batch_size * self.size))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """((batch_size,) int64 samples, (batch_size,) bool): the last batch is filled with sample 0, marked False."""
        samples = (step * self.batch_size + np.arange(self.batch_size)) * self.size + self.rank
        valid = samples < self.length
        return np.where(valid, samples, 0), valid
