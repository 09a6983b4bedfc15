"""Measure `mindcv-hrnet serve` on this machine: speed beside the bare model, latency, hostile requests, memory.

    python scripts/load_test.py MODEL [--parts speed,latency,hostile,memory] [--clients 32] [--out RESULTS.json]

Starts the server itself, with `--max-batch`, `--workers` and `--executors` as given, and sends only to 127.0.0.1.
Client, server and the bare model share this machine's cores; the bare model runs while the server is idle, in turns
with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hostile_requests import CLOSED, hostile_requests, send
from serving_client import HOST, Client, closed_loop, open_loop, request_of, tensor_request

from mindcv_hrnet.deploy.runner import Model, load_model

BATCHES = (1, 2, 4, 8, 16, 32)
ROUNDS = 5
PARTS = ("speed", "latency", "hostile", "memory")


@contextlib.contextmanager
def server(model: Path, *options: str) -> Iterator[tuple[int, psutil.Process]]:
    """(port, supervisor) of a server that is ready; its log goes to a file that is shown where it fails."""
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile("w+") as log:
        line = [sys.executable, "-m", "mindcv_hrnet", "serve", str(model), "--port", str(port), *options]
        process = subprocess.Popen(line, stdout=log, stderr=log)
        try:
            asyncio.run(_await_ready(port, process))
            yield port, psutil.Process(process.pid)
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(60)


async def _await_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            client = Client(port)
            request = f"GET /v2/health/ready HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()
            status, _ = await asyncio.wait_for(client.ask(request), 5)
            client.close()
            if status == 200:
                return
        await asyncio.sleep(0.1)
    raise SystemExit("error: the server did not become ready")


def bare_speed(model: Model, images: np.ndarray, seconds: float) -> tuple[float, float]:
    """(images per second, processor seconds an image) of calls without a pause."""
    model(images)
    began, used, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        model(images)
        count += len(images)
    return count / (time.perf_counter() - began), (time.process_time() - used) / count


def processor_seconds(supervisor: psutil.Process) -> float:
    """Of all processes of the server so far. Unlike rates it hardly depends on who else uses the machine."""
    times = [each.cpu_times() for each in supervisor.children(recursive=True)]
    return sum(each.user + each.system for each in times)


def make_images(model: Model, count: int) -> np.ndarray:
    """Random input of the model's own type."""
    metadata = model.metadata
    shape = (count, metadata.in_channels, metadata.image_resize, metadata.image_resize)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return pixels if metadata.input_dtype == "uint8" else (pixels / 127.5 - 1).astype(np.float32)


def encoded_image(size: tuple[int, int] = (500, 375)) -> bytes:
    """A JPEG as photographs are: smooth shapes and some grain."""
    import cv2

    dice = np.random.default_rng(0)
    coarse = cv2.resize(dice.integers(0, 256, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    grain = dice.normal(0, 6, coarse.shape)
    pixels = np.clip(coarse + grain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def measure_speed(path: Path, options: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """The bare model at each batch; then in turns its best batch and the server, for each kind of request."""
    model = load_model(path)
    bare = {batch: bare_speed(model, make_images(model, batch), seconds / 2)[0] for batch in BATCHES}
    best = max(bare, key=lambda batch: bare[batch])
    print(f"bare model    {', '.join(f'batch {batch} {rate:.1f}' for batch, rate in bare.items())} images/s")
    single, many = make_images(model, 1), make_images(model, best)
    kinds = {"tensor": tensor_request(path.stem, single), "JPEG": request_of("/classify", encoded_image())}
    if model.metadata.input_dtype == "float32":
        kinds["uint8 tensor"] = tensor_request(path.stem, np.zeros(single.shape, np.uint8))
    rows = {}
    with server(path, *options) as (port, supervisor):
        for kind, request in kinds.items():
            outcome = asyncio.run(closed_loop(port, [request], clients, 2 * clients))
            ratios, rates, times = [], [], []
            costs: dict[str, list[float]] = {"bare": [], "server": [], "client": []}
            for _ in range(ROUNDS):
                ceiling, cost_of_one = bare_speed(model, many, seconds / ROUNDS)
                costs["bare"].append(cost_of_one)
                total = max(2 * clients, int(outcome.rate * seconds / ROUNDS))
                before, theirs = time.process_time(), processor_seconds(supervisor)
                outcome = asyncio.run(closed_loop(port, [request], clients, total))
                costs["server"].append((processor_seconds(supervisor) - theirs) / total)
                costs["client"].append((time.process_time() - before) / total)
                assert set(outcome.statuses) == {200}, outcome.statuses
                ratios.append(outcome.rate / ceiling)
                rates.append(outcome.rate)
                times += outcome.seconds
            alone = asyncio.run(closed_loop(port, [request], 1, max(10, int(bare[1] * seconds / 4))))
            p50, p99 = np.percentile(times, [50, 99])
            cost = {who: 1e3 * float(np.median(values)) for who, values in costs.items()}
            rows[kind] = {
                "cpu_ms": cost,
                "rates": rates,
                "ratios": ratios,
                "p50_s": p50,
                "p99_s": p99,
                "alone_s": alone.seconds,
            }
            print(
                f"{kind:13} {clients} clients {np.median(rates):.1f} images/s, {np.median(ratios):.2f} of the bare "
                f"model at batch {best} ({min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} turns); "
                f"p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms; one client alone {alone.milliseconds(50):.1f} ms; "
                f"processor ms an image: {', '.join(f'{who} {value:.1f}' for who, value in cost.items())}"
            )
    return {"bare": bare, "best_batch": best, "served": rows}


def measure_latency(path: Path, options: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """p99 of random arrivals at half the rate that the server reaches, beside one client alone."""
    model = load_model(path)
    request = tensor_request(path.stem, make_images(model, 1))
    del model
    with server(path, *options) as (port, _):
        full = asyncio.run(closed_loop(port, [request], clients, clients))
        full = asyncio.run(closed_loop(port, [request], clients, max(2 * clients, int(full.rate * seconds))))
        alone = asyncio.run(closed_loop(port, [request], 1, max(20, int(full.rate * seconds / 4))))
        half = asyncio.run(open_loop(port, [request], full.rate / 2, max(100, int(full.rate * seconds))))
        assert set(half.statuses) == {200}, half.statuses
    result = {
        "full_rate": full.rate,
        "alone_ms": alone.milliseconds(50),
        "half_p50_ms": half.milliseconds(50),
        "half_p99_ms": half.milliseconds(99),
    }
    print(
        f"latency       {full.rate / 2:.1f} of {full.rate:.1f} requests/s at random moments: p50 "
        f"{result['half_p50_ms']:.1f} ms, p99 {result['half_p99_ms']:.1f} ms, "
        f"{result['half_p99_ms'] / result['alone_ms']:.2f} times one client alone ({result['alone_ms']:.1f} ms)"
    )
    return result


def measure_hostile(path: Path, options: list[str], clients: int, count: int) -> dict[str, Any]:
    """Statuses of `count` bad requests by kind, with good ones between, and whether any process changed."""
    model = load_model(path)
    side = model.metadata.image_resize
    good = tensor_request(path.stem, make_images(model, 1))
    del model
    statuses: dict[str, Counter[int]] = {}
    answered: Counter[int] = Counter()

    async def attack(port: int) -> None:
        requests = hostile_requests(count, path.stem, side)

        async def one() -> None:
            client = Client(port)
            for hostile in requests:
                status = await send(port, hostile, patience_s=120)
                statuses.setdefault(hostile.kind, Counter())[status] += 1
                answered[(await client.ask(good))[0]] += 1
            client.close()

        await asyncio.gather(*(one() for _ in range(clients)))

    with server(path, "--read-timeout-s", "2", *options) as (port, supervisor):
        before = sorted(child.pid for child in supervisor.children(recursive=True))
        asyncio.run(attack(port))
        after = sorted(child.pid for child in supervisor.children(recursive=True))
    for kind, counts in statuses.items():
        words = [f"{status or 'closed'}: {number}" for status, number in sorted(counts.items())]
        print(f"{kind:18} {', '.join(words)}")
    total: Counter[int] = sum(statuses.values(), Counter())
    bad = {status: number for status, number in total.items() if not 400 <= status < 500 and status != CLOSED}
    refused = sum(number for status, number in total.items() if 400 <= status < 500)
    print(
        f"hostile       {total.total()} requests: {refused} answered 4xx, {total[CLOSED]} closed, "
        f"{bad or 'none'} otherwise; good ones between: {dict(answered)}; "
        f"workers {'the same' if before == after else 'changed'}"
    )
    return {"statuses": {kind: dict(counts) for kind, counts in statuses.items()}, "good": dict(answered)}


def measure_memory(path: Path, options: list[str], clients: int, count: int) -> dict[str, Any]:
    """Resident memory of all processes of the server, at ten moments of `count` requests of three kinds."""
    model = load_model(path)
    images = make_images(model, 2)
    del model
    requests = [
        tensor_request(path.stem, images),
        request_of("/classify", encoded_image()),
        request_of("/classify", b"no image"),
    ]
    sizes: list[float] = []
    with server(path, *options) as (port, supervisor):
        for _ in range(11):
            if sizes or asyncio.run(closed_loop(port, requests, clients, 5 * clients)).statuses:
                sizes.append(sum(each.memory_info().rss for each in supervisor.children(recursive=True)) / 2**20)
            if len(sizes) <= 10:
                asyncio.run(closed_loop(port, requests, clients, count // 10))
    print(f"memory        {count} requests, MiB after each tenth: {', '.join(f'{size:.0f}' for size in sizes)}")
    return {"mib": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of speed")
    parser.add_argument("--hostile", type=int, default=1000, help="bad requests")
    parser.add_argument("--requests", type=int, default=10_000, help="for the memory part")
    parser.add_argument("--max-batch", default="16")
    parser.add_argument("--max-wait-ms", default="2")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--executors", default="1")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if set(parts) - set(PARTS):
        parser.error(f"--parts: choices are {', '.join(PARTS)}")
    path = options.model.resolve()
    words = ["--max-batch", options.max_batch, "--max-wait-ms", options.max_wait_ms, "--workers", options.workers]
    words += ["--executors", options.executors]
    measures: dict[str, tuple[Callable[..., dict[str, Any]], float]] = {
        "speed": (measure_speed, options.seconds),
        "latency": (measure_latency, options.seconds),
        "hostile": (measure_hostile, options.hostile),
        "memory": (measure_memory, options.requests),
    }
    print(f"{path.name}, {os.cpu_count()} cores, {' '.join(words)}, load of this machine {os.getloadavg()[0]:.1f}")
    results = {part: measures[part][0](path, words, options.clients, measures[part][1]) for part in parts}
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
