"""Requests of every bad kind end in a refusal, and the server goes on."""

import asyncio
import importlib
from collections import Counter

import pytest


@pytest.mark.usefixtures("scripts")
def test_bad_requests_are_refused_and_good_ones_answered_meanwhile(serve, tiny_onnx, picture):
    hostile = importlib.import_module("hostile_requests")
    running = serve(tiny_onnx, read_timeout_s=0.6)
    statuses = {}

    async def attack():
        requests = list(hostile.hostile_requests(10 * len(hostile.KINDS), "tiny", 32))
        answers = await asyncio.gather(*(hostile.send(running.port, each) for each in requests))
        for request, status in zip(requests, answers, strict=True):
            statuses.setdefault(request.kind, Counter())[status] += 1

    asyncio.run(attack())
    assert set(statuses) == set(hostile.KINDS)
    print(statuses)
    assert {status for counts in statuses.values() for status in counts if not 400 <= status < 500} == set(), statuses
    with running.client() as client:
        assert client.post("/classify", content=picture("blue")).json()["predictions"][0]["label"] == "blue"
    assert running.service.places.taken == 0
