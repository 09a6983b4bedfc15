"""Sources + sampler + transforms -> batches of uint8 images, by threads of our own, in an order that nothing disturbs.

Threads write each image straight into its place in the batch. What a batch holds follows from
(seed, epoch, step, rank, size) alone.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Generic, NamedTuple

import numpy as np

from mindcv_hrnet.data.augment.mix_erase import draw_erase, draw_mix, erase_draws, fill_with_noise
from mindcv_hrnet.data.augment.policies import build_policy
from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.prefetch import Batch, ReadAhead, Started, chunks
from mindcv_hrnet.data.retry import PatientReader
from mindcv_hrnet.data.rng import Purpose, generator, uniforms
from mindcv_hrnet.data.sampler import EvalSampler, TrainSampler
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.data.transforms import (
    Augmentation,
    ColorJitter,
    EvalTransform,
    RandomCrop,
    TrainTransform,
    interpolation,
)
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig

logger = logging.getLogger(__name__)

DAMAGED_SHARE = 0.01


class TrainBatch(NamedTuple):
    """images (N, C, S, S) uint8, labels (N,) int32, erase (N, 4) int32 boxes, mix (N, 5) float32 boxes and weights, and
    keep (N, D) uint8: what stochastic depth and dropout leave in its place, see `models/drop.py`.

    With several views of each image N is batch_size times as many: first view of all, second view of all, and so on.
    """

    images: np.ndarray
    labels: np.ndarray
    erase: np.ndarray
    mix: np.ndarray
    keep: np.ndarray


class EvalBatch(NamedTuple):
    """images (N, C, S, S) uint8, labels (N,) int32, valid (N,) bool: False marks filling."""

    images: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


class _Loader(Generic[Batch]):
    """What both loaders are: batches by position, prepared ahead. One consumer at a time.

    `error` keeps the exception that ended an iteration, for callers that see it through MindSpore only; `waited_s` is
    how long it was asked for batches that were not ready.
    """

    def __init__(self, source: Source, data: DataConfig, side: int, in_channels: int, end: int | None) -> None:
        self.source = source
        self.error: Exception | None = None
        self.waited_s = 0.0
        self._shape = (data.batch_size, in_channels, side, side)
        self._read = PatientReader(source)
        self._ahead: ReadAhead[Batch] = ReadAhead(data.num_parallel_workers, end, self._read.stalled)

    def example(self) -> Batch:
        """A batch of zeros with the shapes and types of every other."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the threads. A later iteration starts new ones."""
        self._ahead.close()

    def _start(self, position: int) -> Started[Batch]:
        raise NotImplementedError

    def _take(self, positions: Iterable[int]) -> Iterator[Batch]:
        for position in positions:
            asked = time.perf_counter()
            try:
                batch = self._ahead.take(position, self._start)
            except Exception as error:
                self.error = error
                raise
            self.waited_s += time.perf_counter() - asked
            yield batch


class TrainLoader(_Loader[TrainBatch]):
    """Augmented batches without end: `batches(epoch)` is one epoch, from any step, at no cost for the jump.

    A file that cannot be read or decoded is named in a warning once and replaced by another sample, always the same
    one; past `DAMAGED_SHARE` of the samples DataError ends the run. `epochs`: prepare nothing beyond this many.
    """

    def __init__(
        self,
        source: Source,
        data: DataConfig,
        augmentation: AugmentationConfig,
        seed: int,
        *,
        rank: int = 0,
        size: int = 1,
        in_channels: int = 3,
        epochs: int | None = None,
        drop_rates: Sequence[float] = (),
    ) -> None:
        self.drop_rates = np.asarray(drop_rates)
        self.seed, self.rank, self.augmentation = seed, rank, augmentation
        self.sampler = TrainSampler(
            length=len(source),
            batch_size=data.batch_size,
            seed=seed,
            rank=rank,
            size=size,
            shuffle=data.shuffle,
            num_samples=data.num_samples,
            drop_remainder=data.drop_remainder,
            repeats=max(1, augmentation.aug_repeats),
        )
        self.steps_per_epoch = self.sampler.steps_per_epoch
        self.transform = build_train_transform(augmentation)
        self._views = self.transform.views
        self._draws = self.transform.draws + self._views * erase_draws(augmentation.re_max_attempts)
        self._damaged = _DamagedFiles(source, size)
        self._order = lru_cache(maxsize=2)(self.sampler.order)
        end = None if epochs is None else epochs * self.steps_per_epoch
        super().__init__(source, data, augmentation.image_resize, in_channels, end)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch from `start_step` on; the next epoch's first ones are prepared meanwhile."""
        first = epoch * self.steps_per_epoch
        return self.steps(first + start_step, self.steps_per_epoch - start_step)

    def steps(self, first: int, count: int) -> Iterator[TrainBatch]:
        """The batches of `count` steps of a run, across the borders of epochs."""
        return self._take(range(first, first + count))

    def entries(self, epoch: int, step: int) -> np.ndarray:
        """(N,) int64: what the sampler chose for a batch; `entry % len(source)` is the sample."""
        return self.sampler.batch(self._order(epoch), step)

    def uniforms(self, epoch: int, entry: int) -> list[float]:
        """The random numbers of an entry: the transform's, then those of erasing."""
        return uniforms(self.seed, Purpose.SAMPLE, epoch, entry, self._draws)

    @property
    def damaged(self) -> int:
        """Distinct files of this rank that could not be used so far."""
        return len(self._damaged)

    def example(self) -> TrainBatch:
        """A batch of zeros that drops nothing; with several views of each image it has as many times the rows."""
        n = self._shape[0] * self._views
        return TrainBatch(
            images=np.zeros((n, *self._shape[1:]), np.uint8),
            labels=np.zeros(n, np.int32),
            erase=np.zeros((n, 4), np.int32),
            mix=np.zeros((n, 5), np.float32),
            keep=np.ones((n, max(1, len(self.drop_rates))), np.uint8),
        )

    def head(self, count: int) -> TrainBatch:
        """The first rows of the run's first batch, unmixed, made here and now; of several views the first."""
        batch, entries = self.example(), self.entries(0, 0)
        rows = range(min(count, len(entries)))
        self._fill(0, entries, batch, rows)
        return TrainBatch(*(array[: len(rows)] for array in batch))

    def _start(self, position: int) -> Started[TrainBatch]:
        epoch, step = divmod(position, self.steps_per_epoch)
        entries = self.entries(epoch, step)
        a, batch = self.augmentation, self.example()
        probability = 0.0 if a.mixup_off_epoch and epoch >= a.mixup_off_epoch else a.cutmix_prob
        batch.mix[:] = draw_mix(
            seed=self.seed,
            epoch=epoch,
            step=step,
            rank=self.rank,
            side=a.image_resize,
            mixup=a.mixup,
            cutmix=a.cutmix,
            probability=probability,
        )
        rows = chunks(len(entries), self._ahead.workers)
        return batch, [partial(self._fill, epoch, entries, batch, part) for part in rows]

    def _fill(self, epoch: int, entries: np.ndarray, batch: TrainBatch, rows: range) -> None:
        a = self.augmentation
        count = len(entries)
        for row in rows:
            entry, places = int(entries[row]), range(row, count * self._views, count)
            drawn = self.uniforms(epoch, entry)
            label = self._load(entry % len(self.source), drawn, [batch.images[place] for place in places])
            for view, place in enumerate(places):
                batch.labels[place] = label
                if self.drop_rates.size:
                    draw = generator(self.seed, Purpose.DROP, epoch, entry, view)
                    batch.keep[place] = draw.random(self.drop_rates.size) >= self.drop_rates
                # the first of several views stays as it is
                if a.re_prob and (view or self._views == 1):
                    rest = drawn[self.transform.draws + view * erase_draws(a.re_max_attempts) :]
                    box = draw_erase(
                        rest,
                        side=a.image_resize,
                        probability=a.re_prob,
                        scale=a.re_scale,
                        ratio=a.re_ratio,
                        attempts=a.re_max_attempts,
                    )
                    if a.re_value == "random":
                        noise = generator(self.seed, Purpose.ERASE_NOISE, epoch, entry, view)
                        fill_with_noise(batch.images[place], box, noise, mean=a.mean, std=a.std)
                    else:
                        batch.erase[place] = box

    def _load(self, index: int, drawn: list[float], views: list[np.ndarray]) -> int:
        """Fill `views` and return its label; of another sample, if this one cannot be used."""
        candidate, others = index, None
        while True:
            try:
                self.transform(self._read(candidate), drawn, *views)
                return int(self.source.labels[candidate])
            except (UnreadableImage, OSError) as error:
                self._damaged.note(candidate, error)
            others = others or generator(self.seed, Purpose.REPLACEMENT, index=index)
            candidate = int(others.random() * len(self.source))


class EvalLoader(_Loader[EvalBatch]):
    """Every sample once, in order: `steps` batches of one shape on each rank. Iterate as often as needed.

    A file that cannot be read or decoded ends the iteration with DataError, because its absence would change the score.
    """

    def __init__(
        self,
        source: Source,
        data: DataConfig,
        augmentation: AugmentationConfig,
        *,
        rank: int = 0,
        size: int = 1,
        in_channels: int = 3,
    ) -> None:
        self.sampler = EvalSampler(length=len(source), batch_size=data.batch_size, rank=rank, size=size)
        self.steps = self.sampler.steps
        draw = generator(0, Purpose.ORDER)
        self._order = draw.permutation(len(source)) if data.eval_shuffle else np.arange(len(source))
        self._transform = build_eval_transform(augmentation)
        super().__init__(source, data, augmentation.image_resize, in_channels, end=self.steps)

    def __iter__(self) -> Iterator[EvalBatch]:
        return self._take(range(self.steps))

    def __len__(self) -> int:
        return self.steps

    def example(self) -> EvalBatch:
        """A batch of zeros in which no image is valid."""
        n = self._shape[0]
        return EvalBatch(np.zeros(self._shape, np.uint8), np.zeros(n, np.int32), np.zeros(n, bool))

    def samples(self, step: int) -> np.ndarray:
        """(N,) int64: which samples of the source a batch holds."""
        places, _ = self.sampler.batch(step)
        return self._order[places]

    def _start(self, position: int) -> Started[EvalBatch]:
        samples, (_, valid) = self.samples(position), self.sampler.batch(position)
        batch = self.example()
        batch.labels[:], batch.valid[:] = self.source.labels[samples], valid
        rows = chunks(len(valid), self._ahead.workers)
        return batch, [partial(self._fill, samples, batch, part) for part in rows]

    def _fill(self, samples: np.ndarray, batch: EvalBatch, rows: range) -> None:
        for row in rows:
            if batch.valid[row]:
                index = int(samples[row])
                try:
                    self._transform(self._read(index), batch.images[row])
                except (UnreadableImage, OSError) as error:
                    raise DataError(
                        f"{self.source.path(index)}: {_reason(error)}; validation needs every image, "
                        "replace or remove the file"
                    ) from None


def build_train_transform(augmentation: AugmentationConfig) -> TrainTransform:
    """The host's part of training augmentation. Raises ConfigError for an unknown policy or resampling name."""
    a = augmentation
    method = interpolation(a.interpolation)
    augment: Augmentation | None = None
    if a.auto_augment:
        augment = build_policy(a.auto_augment, a.mean if len(a.mean) == 3 else tuple(a.mean) * 3, method.cv)
    elif a.color_jitter:
        augment = ColorJitter(a.color_jitter)
    crop = RandomCrop(a.image_resize, scale=a.scale, ratio=a.ratio, method=method)
    return TrainTransform(crop, hflip=a.hflip, vflip=a.vflip, augment=augment, views=max(1, a.aug_splits))


def build_eval_transform(augmentation: AugmentationConfig) -> EvalTransform:
    """The host's part of validation and prediction. Raises ConfigError for an unknown resampling name."""
    a = augmentation
    return EvalTransform(a.image_resize, a.crop_pct, interpolation(a.interpolation).pillow)


class _DamagedFiles:
    """Counts distinct unusable files, names each once, and gives up when they are too many."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._share = len(source) / size  # of several ranks each sees its share of the files in an epoch
        self._whose = " of this rank's share" if size > 1 else ""
        self._found: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def note(self, index: int, error: Exception) -> None:
        """Raises DataError past DAMAGED_SHARE of the samples."""
        with self._lock:
            if index not in self._found:
                self._found.add(index)
                logger.warning("%s: %s; another image takes its place", self._source.path(index), _reason(error))
            if len(self._found) > DAMAGED_SHARE * self._share:
                raise DataError(
                    f"{len(self._found)} of {self._share:.0f} training images{self._whose} cannot be used, more than "
                    f"{DAMAGED_SHARE:.0%}, among them {self._source.path(index)}; replace or remove the damaged files"
                ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror or error})"
    return str(error)
