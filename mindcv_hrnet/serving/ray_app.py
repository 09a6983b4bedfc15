"""The same application under Ray Serve: replicas on one machine or many, restarted and scaled by Ray.

    serve run mindcv_hrnet.serving.ray_app:application model=/path/to/hrnet.onnx replicas=2 cpus=1

Ray balances, batches (`@serve.batch`) and replaces replicas; routes, limits and answers are those of `app.py`. A new
model is a new deployment: replicas do not watch their file.
"""

import asyncio
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve

from mindcv_hrnet.deploy.runner import Model
from mindcv_hrnet.serving import logs, metrics
from mindcv_hrnet.serving.app import build_app
from mindcv_hrnet.serving.batching import compute_together
from mindcv_hrnet.serving.service import Service
from mindcv_hrnet.serving.settings import KEY_VARIABLE, Settings

Job = tuple[Model, np.ndarray]


class Arguments(BaseModel):
    """What stands behind the name in `serve run`, as `key=value`, or under `args` in a configuration file."""

    model_config = ConfigDict(extra="forbid")

    model: str
    name: str = ""
    replicas: int = 1
    cpus: float = 1
    """Cores that Ray sets aside for a replica, and that it computes with."""
    npus: float = 0
    """Of Ray's resource "NPU": an Ascend for each replica."""
    max_batch: int = 16
    max_wait_ms: float = 2.0
    queue: int = 128
    timeout_s: float = 30.0


def application(arguments: Arguments) -> serve.Application:
    """The application for `serve run`."""
    settings = Settings(
        str(Path(arguments.model).expanduser().resolve()),
        name=arguments.name,
        threads=max(1, int(arguments.cpus)),
        max_batch=arguments.max_batch,
        max_wait_ms=arguments.max_wait_ms,
        queue=arguments.queue,
        timeout_s=arguments.timeout_s,
        watch_s=0,
    )
    resources = {"NPU": arguments.npus} if arguments.npus else {}
    deployment = serve.deployment(
        serve.ingress(lambda: build_replica(settings))(),
        name="hrnet",
        num_replicas=arguments.replicas,
        ray_actor_options={"num_cpus": arguments.cpus, "resources": resources},
        # Beyond the queue, so that too many requests get our 429 with its reason; health checks need places as well
        max_ongoing_requests=2 * arguments.queue,
        graceful_shutdown_timeout_s=arguments.timeout_s,
    )
    return deployment.bind()


def build_replica(settings: Settings) -> FastAPI:
    """What one replica serves; called in its process. The key is that of the machine's environment."""
    logs.set_up()

    @serve.batch(
        max_batch_size=settings.max_batch,
        batch_wait_timeout_s=settings.max_wait_ms / 1000,
        batch_size_fn=lambda jobs: sum(len(images) for _, images in jobs),
    )
    async def compute(jobs: list[Job]) -> list[np.ndarray]:
        return await asyncio.to_thread(compute_jobs, jobs)

    async def run(model: Model, images: np.ndarray) -> np.ndarray:
        return await compute((model, images))

    return build_app(Service.load(settings, run), os.environ.get(KEY_VARIABLE, ""))


def compute_jobs(jobs: Sequence[Job]) -> list[np.ndarray]:
    """The logits of each job; images of one size are computed together."""
    answers: list[np.ndarray] = []
    for _, group in itertools.groupby(jobs, key=_kind):
        together = list(group)
        answers += compute_together(together[0][0], [images for _, images in together])
        metrics.BATCH_IMAGES.observe(sum(len(images) for _, images in together))
    return answers


def _kind(job: Job) -> Any:
    model, images = job
    return id(model), images.shape[1:]
