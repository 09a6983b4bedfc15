"""Loader -> mindspore.dataset, for Model.train, sink mode and everything else that wants MindSpore's own iterator."""

from collections.abc import Callable, Iterator

import numpy as np
from mindspore.dataset import GeneratorDataset

from mindcv_hrnet.data.loader import EvalBatch, EvalLoader, TrainBatch, TrainLoader


class _Passes:
    """What GeneratorDataset iterates: each pass goes on where the last one ended, or is the whole evaluation again."""

    def __init__(
        self,
        loader: TrainLoader | EvalLoader,
        first_step: int,
        steps: int,
        failed: Callable[[Exception], None] | None,
    ) -> None:
        self._loader, self._next, self._steps, self._failed = loader, first_step, steps, failed
        self.probing = False

    def __len__(self) -> int:
        return self._steps

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
            # MindSpore asks for an iterator without always using it: a pass counts from its first batch on
            first, self._next = self._next, self._next + self._steps
            yield from self._loader.steps(first, self._steps)


def as_dataset(
    loader: TrainLoader | EvalLoader,
    first_step: int = 0,
    steps: int | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> GeneratorDataset:
    """A GeneratorDataset over a loader, with the columns of its batches.

    Of a training loader its first pass begins at `first_step` of the run and has `steps` (an epoch's when None), across
    the borders of epochs; each further pass goes on where the last one ended. Exceptions come out of MindSpore as
    RuntimeError with a long text; `loader.error` has the original. `failed` is told of an exception the moment it
    happens, on the thread that iterates: in sink mode the main thread may not hear of it.
    """
    in_all = loader.steps if isinstance(loader, EvalLoader) else loader.steps_per_epoch
    passes = _Passes(loader, first_step, in_all if steps is None else steps, failed)
    columns = list(TrainBatch._fields if isinstance(loader, TrainLoader) else EvalBatch._fields)
    dataset = GeneratorDataset(passes, columns, shuffle=False, num_parallel_workers=1, python_multiprocessing=False)
    # Sink mode asks for shapes and types by starting passes of its own; answered here once, from an empty batch,
    # they do not use up epochs.
    passes.probing = True
    dataset.output_shapes()
    dataset.output_types()
    passes.probing = False
    return dataset
