"""Single requests -> batches for a few executors."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

Compute = Callable[[np.ndarray], np.ndarray]


@dataclass
class _Waiting:
    """Images of one request."""

    compute: Compute
    images: np.ndarray
    answer: asyncio.Future[np.ndarray]
    since: float

    def goes_with(self, other: _Waiting) -> bool:
        """Whether both may share a batch: the same model (one may be replaced meanwhile), shape and type."""
        return (
            self.compute is other.compute
            and self.images.shape[1:] == other.images.shape[1:]
            and self.images.dtype == other.images.dtype
        )


@dataclass
class MicroBatcher:
    """Collects up to `max_batch` images, or what came within `max_wait_s` of the oldest, and computes them together.

    Nothing waits longer than `max_wait_s` while an executor is idle; while all work, the next batch grows for free.
    """

    max_batch: int
    max_wait_s: float
    on_batch: Callable[[int, float, float], None] = lambda images, waited_s, computed_s: None
    """Called after each batch."""
    executors: int = 1
    """Threads that compute a batch each, at the same time."""
    _waiting: deque[_Waiting] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(self.executors, "executor")
        self._tasks: list[asyncio.Task[None]] = []
        self._began: dict[int, float] = {}

    def start(self) -> None:
        """Begin to work; called inside the event loop."""
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(self.executors)]

    async def close(self) -> None:
        """Stop; what still waits is never answered, so it is called after the last request."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def computing_since(self) -> float | None:
        """`time.monotonic` when the oldest batch at work began."""
        return min(self._began.values(), default=None)

    async def __call__(self, compute: Compute, images: np.ndarray) -> np.ndarray:
        """(n, C, H, W) -> (n, K), n up to `max_batch`. Raises what `compute` raised."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(compute, images, answer, time.monotonic()))
        self._arrived.set()
        return await answer

    async def _work(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._collect()
            started = self._began[number] = time.monotonic()
            try:
                parts = [item.images for item in batch]
                logits = await loop.run_in_executor(self._threads, compute_together, batch[0].compute, parts)
            except Exception as error:
                for item in batch:
                    _answer(item, error)
            else:
                for item, part in zip(batch, logits, strict=True):
                    _answer(item, part)
                waited, computed = started - batch[0].since, time.monotonic() - started
                self.on_batch(sum(map(len, logits)), waited, computed)
            finally:
                del self._began[number]

    async def _collect(self) -> list[_Waiting]:
        while True:
            self._drop_cancelled()
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            rest = self._waiting[0].since + self.max_wait_s - time.monotonic()
            batch, full = self._next_batch()
            if full or rest <= 0:
                for _ in batch:
                    self._waiting.popleft()
                return batch
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), rest)
            except asyncio.TimeoutError:
                continue

    def _drop_cancelled(self) -> None:
        """Forget requests whose time is over; nobody waits for their answer."""
        if any(item.answer.done() for item in self._waiting):
            self._waiting = deque(item for item in self._waiting if not item.answer.done())

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """(the oldest that go together, whether nothing that comes later could join them)."""
        batch: list[_Waiting] = []
        images = 0
        for item in self._waiting:
            if batch and (not item.goes_with(batch[0]) or images + len(item.images) > self.max_batch):
                return batch, True
            batch.append(item)
            images += len(item.images)
        return batch, images >= self.max_batch


def compute_together(compute: Compute, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The logits of each part, (n, C, H, W) of one C, H, W and type, from one call."""
    logits = compute(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return np.split(logits, np.cumsum([len(part) for part in parts])[:-1])


def _answer(item: _Waiting, result: np.ndarray | Exception) -> None:
    if item.answer.done():  # its time was over meanwhile
        return
    if isinstance(result, Exception):
        item.answer.set_exception(result)
    else:
        item.answer.set_result(result)
