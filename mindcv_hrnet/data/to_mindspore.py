"""Loader -> mindspore.dataset, for Model.train, sink mode and everything else that wants MindSpore's own iterator."""

from collections.abc import Callable, Iterator

import numpy as np
from mindspore.dataset import GeneratorDataset

from mindcv_hrnet.data.loader import EvalBatch, EvalLoader, TrainBatch, TrainLoader


class _Passes:
    """What GeneratorDataset iterates: each pass over it is the next epoch, or the whole of an evaluation again."""

    def __init__(
        self, loader: TrainLoader | EvalLoader, epoch: int, step: int, failed: Callable[[Exception], None] | None
    ) -> None:
        self._loader, self._epoch, self._step, self._failed = loader, epoch, step, failed
        self.probing = False

    def __len__(self) -> int:
        steps = self._loader.steps if isinstance(self._loader, EvalLoader) else self._loader.steps_per_epoch
        return steps - self._step

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        try:
            yield from self._batches()
        except Exception as error:
            if self._failed:
                self._failed(error)
            raise

    def _batches(self) -> Iterator[tuple[np.ndarray, ...]]:
        if self.probing:
            yield self._loader.example()
        elif isinstance(self._loader, EvalLoader):
            yield from self._loader
        else:
            # MindSpore asks for an iterator without always using it: an epoch counts from its first batch on
            epoch, self._epoch = self._epoch, self._epoch + 1
            yield from self._loader.batches(epoch, self._step)


def as_dataset(
    loader: TrainLoader | EvalLoader,
    start_epoch: int = 0,
    start_step: int = 0,
    failed: Callable[[Exception], None] | None = None,
) -> GeneratorDataset:
    """A GeneratorDataset over a loader, with the columns of its batches.

    Its first pass is `start_epoch`, each further pass the next epoch; every pass begins at `start_step`, because
    MindSpore wants passes of one length (so give the rest of a broken-off epoch a dataset of its own). Exceptions come
    out of MindSpore as RuntimeError with a long text; `loader.error` has the original. `failed` is told of an
    exception the moment it happens, on the thread that iterates: in sink mode the main thread may not hear of it.
    """
    passes = _Passes(loader, start_epoch, start_step, failed)
    columns = list(TrainBatch._fields if isinstance(loader, TrainLoader) else EvalBatch._fields)
    dataset = GeneratorDataset(passes, columns, shuffle=False, num_parallel_workers=1, python_multiprocessing=False)
    # Sink mode asks for shapes and types by starting passes of its own; answered here once, from an empty batch,
    # they do not use up epochs.
    passes.probing = True
    dataset.output_shapes()
    dataset.output_types()
    passes.probing = False
    return dataset
