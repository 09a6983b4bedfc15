"""The model that is served now, the way of a request through it, and its replacement."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindcv_hrnet.deploy.container import ONNX
from mindcv_hrnet.deploy.runner import Model
from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.serving import logs, metrics
from mindcv_hrnet.serving.batching import MicroBatcher
from mindcv_hrnet.serving.limits import Places
from mindcv_hrnet.serving.servable import Servable, Signature
from mindcv_hrnet.serving.settings import Settings

logger = logging.getLogger(logs.LOGGER)

Run = Callable[[Model, np.ndarray], Awaitable[np.ndarray]]
"""(model, (n, C, H, W)) -> (n, K), several requests at a time."""


@dataclass(frozen=True)
class Result:
    """(n, K) logits, and where the time went."""

    logits: np.ndarray
    prepare_ms: float
    compute_ms: float
    """Waiting for the executor included."""


class Service:
    """Answers with `servable`; requests that began with an earlier one are finished with that one."""

    def __init__(self, settings: Settings, servable: Servable, run: Run | None = None) -> None:
        self.settings, self.servable = settings, servable
        self.places = Places(settings.queue, "images")
        self._path = Path(settings.model)
        self._pool = ThreadPoolExecutor(settings.threads_per_worker, "prepare")
        self._batcher: MicroBatcher | None = None
        self._run = run
        self._replacing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def load(cls, settings: Settings, run: Run | None = None) -> Service:
        """With its model; takes seconds. Raises CheckpointError."""
        return cls(settings, _load(settings), run)

    def start(self) -> None:
        """Begin to work, inside the event loop."""
        if self._run is None:
            self._batcher = MicroBatcher(
                self.settings.max_batch,
                self.settings.max_wait_ms / 1000,
                on_batch=metrics.observe_batch,
                executors=self.settings.executors,
            )
            self._batcher.start()
            self._run = self._batcher
        _show_model(self, 1)
        if self.settings.watch_s:
            self._keep(self._watch())

    async def close(self) -> None:
        """After the last request."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._batcher:
            await self._batcher.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def healthy(self) -> bool:
        """Whether no executor is stuck: what they compute began a reasonable time ago."""
        since = self._batcher.computing_since if self._batcher else None
        return since is None or time.monotonic() - since < 2 * self.settings.timeout_s

    async def __call__(self, servable: Servable, images: np.ndarray | list[bytes]) -> Result:
        """Pixels, a tensor or encoded images through `servable`. Refused: no place left, an image of no use."""
        assert self._run is not None
        with self.places.take(len(images)):
            metrics.IN_HAND.inc(len(images))
            try:
                began = time.perf_counter()
                max_pixels = self.settings.max_pixels
                loop = asyncio.get_running_loop()
                batch = await loop.run_in_executor(self._pool, servable.prepare, images, max_pixels)
                prepared = time.perf_counter()
                logits = await self._run(servable.model, batch)
                return Result(logits, 1e3 * (prepared - began), 1e3 * (time.perf_counter() - prepared))
            finally:
                metrics.IN_HAND.dec(len(images))

    def replace_soon(self) -> None:
        """Take the file as it is now, as SIGHUP asks; called inside the event loop."""
        self._keep(self.replace())

    async def replace(self) -> None:
        """Load and check the file beside the model at work, then answer with it; a bad file changes nothing."""
        async with self._replacing:
            try:
                servable = await asyncio.to_thread(_load, self.settings)
            except Exception as error:
                # A defect of the loader must not end the watch, and the model at work is as good as before
                metrics.REPLACEMENTS.labels("refused").inc()
                fields = {"reason": reason_of(error)}
                logger.error("model not replaced", exc_info=not isinstance(error, UserError), extra={"fields": fields})
                return
            before = self.servable.version
            _show_model(self, 0)
            self.servable = servable
            _show_model(self, 1)
            metrics.REPLACEMENTS.labels("done").inc()
            logger.info("model replaced", extra={"fields": {"before": before, "version": servable.version}})

    async def _watch(self) -> None:
        """Replace the model when its file has changed, and has stood still from one look to the next."""
        tried = last = self.servable.signature
        while True:
            await asyncio.sleep(self.settings.watch_s)
            now = Signature.of(self._path)
            if now is not None and now == last and now not in (tried, self.servable.signature):
                tried = now
                await self.replace()
            last = now

    def _keep(self, work: Awaitable[None]) -> None:
        """Run `work` beside the requests; a task that nobody holds may be collected."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _load(settings: Settings) -> Servable:
    servable = Servable.load(Path(settings.model), threads=settings.threads_per_batch, max_batch=settings.max_batch)
    if settings.executors > 1 and servable.model.format != ONNX:
        raise CheckpointError(
            f"{settings.model}: a {servable.model.format} computes one batch at a time; --executors 1"
        )
    return servable


def _show_model(service: Service, value: int) -> None:
    servable = service.servable
    metrics.MODEL.labels(service.settings.served_name, servable.version, servable.model.format).set(value)
