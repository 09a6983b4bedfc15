"""Batches prepared ahead, on threads, handed over in order.

OpenCV and file reads release Python's global lock, so threads decode in parallel without copies between processes.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import cv2

from mindcv_hrnet.data.retry import GivenUp
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.cores import usable_cores

BATCHES_AHEAD = 3
OVERDUE_S = 1.0
_CHUNK = 16

Batch = TypeVar("Batch")
# Filling a part of a batch; done twice, it leaves the same
Task = Callable[[], None]
Started = tuple[Batch, list[Task]]


@dataclass
class _Work(Generic[Batch]):
    """A batch on its way: the tasks that fill it, and their futures at the same places."""

    position: int
    batch: Batch
    tasks: list[Task]
    futures: list[Future[None]]


class ReadAhead(Generic[Batch]):
    """Prepares the batches of consecutive positions on threads and hands them over in order.

    Reading on where the last `take` ended costs nothing; any other position drops what was prepared. Nothing from `end`
    on is prepared ahead. `stalled` is asked now and then while a batch is overdue; True starts new threads, which do
    all unfinished tasks anew.
    """

    def __init__(self, workers: int, end: int | None = None, stalled: Callable[[], bool] = lambda: False) -> None:
        self.workers = usable_workers(workers)
        self._end, self._stalled = end, stalled
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[_Work[Batch]] = deque()

    def take(self, position: int, start: Callable[[int], Started[Batch]]) -> Batch:
        """The finished batch of a position; `start(position)` tells its tasks. Raises what a thread raised."""
        pool = self._pool or self._new_pool()
        if self._pending and self._pending[0].position != position:
            self._drop()
        following = self._pending[-1].position + 1 if self._pending else position
        while not self._pending or (
            len(self._pending) <= BATCHES_AHEAD and (self._end is None or following < self._end)
        ):
            batch, tasks = start(following)
            self._pending.append(_Work(following, batch, tasks, [pool.submit(task) for task in tasks]))
            following += 1
        work = self._pending[0]
        try:
            while wait(work.futures, timeout=OVERDUE_S).not_done:
                if self._stalled():
                    self._start_anew()
            for future in work.futures:
                future.result()
        except MemoryError:
            self._drop()
            raise RunError("out of memory while images are decoded; lower num_parallel_workers or batch_size") from None
        except BaseException:
            self._drop()
            raise
        self._pending.popleft()
        return work.batch

    def close(self) -> None:
        """Stop the threads; the next `take` starts new ones. Threads of a forgotten object end by themselves."""
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _new_pool(self) -> ThreadPoolExecutor:
        prepare_process()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="data")
        return self._pool

    def _start_anew(self) -> None:
        assert self._pool is not None
        self._pool.shutdown(wait=False, cancel_futures=True)
        pool = self._new_pool()
        for work in self._pending:
            for place, future in enumerate(work.futures):
                if future.cancelled() or not future.done() or isinstance(future.exception(), GivenUp):
                    work.futures[place] = pool.submit(work.tasks[place])

    def _drop(self) -> None:
        for work in self._pending:
            for future in work.futures:
                future.cancel()
        self._pending.clear()


def chunks(count: int, workers: int) -> list[range]:
    """Rows of a batch, shared out: small enough that all threads work on the next batch first."""
    length = max(1, min(_CHUNK, -(-count // workers)))
    return [range(start, min(start + length, count)) for start in range(0, count, length)]


def usable_workers(requested: int) -> int:
    """`requested` threads, or as many as there are cores for this process."""
    return min(requested, usable_cores())


@lru_cache
def prepare_process() -> None:
    """Settings of the libraries underneath, once: our threads are the parallelism, and errors are ours to report."""
    cv2.setNumThreads(0)
    cv2.setLogLevel(0)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        # glibc returns each decoded image's memory to the system and fetches it anew, page by page; for images of a
        # megapixel that takes as long as decoding. M_MMAP_THRESHOLD and M_TRIM_THRESHOLD:
        libc.mallopt(-3, 1 << 28)
        libc.mallopt(-1, 1 << 29)
