"""Short forms of what scripts/load_test.py measures: throughput, latency, memory. The limits suit a busy machine."""

import asyncio
import importlib
import os
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from tiny_onnx import write_tiny_onnx

pytestmark = pytest.mark.usefixtures("scripts")


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A model that computes some milliseconds for an image."""
    return write_tiny_onnx(tmp_path_factory.mktemp("busy") / "busy.onnx", repeat=5)


@pytest.mark.slow
def test_many_clients_are_computed_together(serve, busy, pixels):
    client = importlib.import_module("serving_client")
    running = serve(busy, threads=1, max_batch=8)
    sizes = []
    model = running.service.servable.model

    class Counted:
        metadata, format = model.metadata, model.format

        def __call__(self, images):
            sizes.append(len(images))
            return model(images)

    running.service.servable = replace(running.service.servable, model=Counted())
    request = client.tensor_request("busy", pixels(1))
    outcome = asyncio.run(client.closed_loop(running.port, [request], 32, 320))
    assert outcome.statuses == {200: 320} and sum(sizes) == 320
    # 32 who ask again at once fill batches of 8 but for the first and the last ones
    assert np.mean(sizes) > 6
    # the executor is what takes the time
    images = pixels(8, np.float32)
    began = time.perf_counter()
    for _ in range(10):
        model(images)
    bare = 80 / (time.perf_counter() - began)
    assert outcome.rate > 0.4 * bare, (outcome.rate, bare)


@pytest.mark.slow
def test_random_arrivals_at_half_load_wait_a_little(serve, busy, pixels):
    client = importlib.import_module("serving_client")
    running = serve(busy, threads=1)
    request = client.tensor_request("busy", pixels(1))
    alone = asyncio.run(client.closed_loop(running.port, [request], 1, 30))
    full = asyncio.run(client.closed_loop(running.port, [request], 16, 160))
    half = asyncio.run(client.open_loop(running.port, [request], full.rate / 2, 100))
    assert half.statuses == {200: 100}
    assert half.milliseconds(50) < 4 * alone.milliseconds(50)


@pytest.mark.slow
def test_memory_stays_flat(serve, tiny_onnx, picture, pixels):
    client = importlib.import_module("serving_client")
    running = serve(tiny_onnx)
    process = psutil.Process(os.getpid())
    requests = [
        client.request_of("/classify", picture("blue", size=(640, 480))),
        client.tensor_request("tiny", pixels(4)),
        client.request_of("/classify", b"no image"),
    ]
    asyncio.run(client.closed_loop(running.port, requests, 8, 300))
    before = process.memory_info().rss
    outcome = asyncio.run(client.closed_loop(running.port, requests, 8, 900))
    assert outcome.statuses == {200: 600, 422: 300}
    # 20 KB a request would be 18 MB
    assert process.memory_info().rss - before < 15 * 2**20
