"""A client that costs next to nothing, for measuring a server on the same machine: raw requests over kept connections.

Only ever talks to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

HOST = "127.0.0.1"


@dataclass
class Outcome:
    """Answers by status, and how long the good ones took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(seconds)

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.seconds) / self.elapsed

    def milliseconds(self, percent: float) -> float:
        return 1e3 * float(np.percentile(self.seconds, percent))


class Client:
    """One connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). A connection that the server has closed meanwhile is opened anew, once."""
        fresh = self._streams is None
        try:
            return await self._ask(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            if fresh:
                raise
            return await self._ask(request)

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        return await read_response(reader)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(status, body) of a response with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
    return int(first.split()[1]), await reader.readexactly(length)


def request_of(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A POST as it travels."""
    fields = {"host": HOST, "content-length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def tensor_request(model: str, images: np.ndarray) -> bytes:
    """Inference of (n, C, H, W) float32 or uint8 in the binary form, logits back in the binary form."""
    raw = images.tobytes()
    datatype = {"float32": "FP32", "uint8": "UINT8"}[str(images.dtype)]
    content = {
        "inputs": [
            {
                "name": "input",
                "shape": list(images.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(content).encode()
    headers = {"inference-header-content-length": str(len(text))}
    return request_of(f"/v2/models/{model}/infer", text + raw, headers)


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, total: int) -> Outcome:
    """`total` requests by so many clients, each of which asks again when it has its answer."""
    outcome, left = Outcome(), iter(range(total))

    async def one() -> None:
        client = Client(port)
        for number in left:
            began = time.perf_counter()
            status, _ = await client.ask(requests[number % len(requests)])
            outcome.note(status, time.perf_counter() - began)
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    outcome.elapsed = time.perf_counter() - began
    return outcome


async def open_loop(port: int, requests: Sequence[bytes], rate: float, total: int, seed: int = 0) -> Outcome:
    """`total` requests at random moments (Poisson), `rate` a second on average, whether answers come or not."""
    outcome, dice, idle = Outcome(), random.Random(seed), list[Client]()

    async def one(number: int) -> None:
        client = idle.pop() if idle else Client(port)
        began = time.perf_counter()
        status, _ = await client.ask(requests[number % len(requests)])
        outcome.note(status, time.perf_counter() - began)
        idle.append(client)

    began = due = time.perf_counter()
    try:
        tasks = []
        for number in range(total):
            due += dice.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(number)))
        await asyncio.gather(*tasks)
    finally:
        for client in idle:
            client.close()
    outcome.elapsed = time.perf_counter() - began
    return outcome
