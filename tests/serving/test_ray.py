"""The application under Ray Serve, run for real: two replicas, of which one is killed."""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import yaml
from repository import ROOT

pytest.importorskip("ray", reason="Ray is not installed; pip install 'mindcv-hrnet[ray]'")


def replicas_of(process):
    """Their processes, which Ray names."""
    return {
        child.pid
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.is_running() and "ServeReplica" in " ".join(child.cmdline()[:1])
    }


def until(condition, log, patience_s=90):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, log.read_text()[-5000:]
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path, tiny_onnx):
    """(process, port, log) of `serve run` with the configuration that comes with the repository, on small numbers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = yaml.safe_load((ROOT / "deployment/ray-serve.yaml").read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    config["applications"][0]["args"] |= {"model": str(tiny_onnx), "cpus": 0.5}
    (tmp_path / "ray-serve.yaml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("serve")
    log = tmp_path / "log"
    # Ray keeps files under the home folder; its sockets must have short names, so they stay where it puts them
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("w") as out:
        command = [str(program), "run", str(tmp_path / "ray-serve.yaml")]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=tmp_path)
    try:
        yield process, port, log
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
@pytest.mark.skipif(not shutil.which("serve", path=str(Path(sys.executable).parent)), reason="no `serve` of Ray here")
def test_two_replicas_of_which_one_is_killed(cluster, picture, pixels):
    client_module = importlib.import_module("serving_client")
    process, port, log = cluster
    url = f"http://127.0.0.1:{port}"

    def ready():
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/v2/health/ready").status_code == 200
        return False

    until(lambda: ready() and len(replicas_of(process)) == 2, log)
    # the same answers as everywhere: routes, binary tensors, refusals
    answer = httpx.post(f"{url}/classify", content=picture("blue"))
    assert answer.json()["predictions"][0]["label"] == "blue" and answer.headers["x-request-id"]
    status, body = asyncio.run(client_module.Client(port).ask(client_module.tensor_request("tiny", pixels(3))))
    assert status == 200
    logits = np.frombuffer(body[body.rindex(b"}") + 1 :], "<f4").reshape(3, 3)
    np.testing.assert_allclose(logits, pixels(3, np.float32).mean(axis=(2, 3)), rtol=1e-5)
    assert httpx.post(f"{url}/classify", content=b"no image").status_code == 422
    # both replicas answer, and requests are computed together
    request = client_module.request_of("/classify", picture("blue"))
    asyncio.run(client_module.closed_loop(port, [request], 16, 300))
    counts, batches = {}, {}
    for _ in range(40):
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}
        answered = values['mindcv_hrnet_requests_total{route="/classify",status="200"}']
        counts[answered] = values["mindcv_hrnet_batch_images_sum"]
        batches[answered] = values["mindcv_hrnet_batch_images_count"]
    assert len(counts) == 2 and sum(counts) == 301, counts
    assert sum(batches.values()) < sum(counts.values())

    before = replicas_of(process)
    killed = min(before)

    async def ask_while_one_dies():
        attack = asyncio.create_task(client_module.closed_loop(port, [request], 8, 1500))
        await asyncio.sleep(0.3)
        os.kill(killed, signal.SIGKILL)
        return await attack

    outcome = asyncio.run(ask_while_one_dies())
    # what the dead one had in hand is lost, no more: eight clients had at most one request each there
    lost = {status: count for status, count in outcome.statuses.items() if status != 200}
    assert sum(lost.values()) <= 8, outcome.statuses
    until(lambda: len(replicas_of(process) - {killed}) == 2, log)
    until(ready, log)
    outcome = asyncio.run(client_module.closed_loop(port, [request], 8, 200))
    assert outcome.statuses == {200: 200}
    print(json.dumps({"lost": lost, "replicas": [sorted(before), sorted(replicas_of(process))]}))


def test_jobs_of_several_sizes_are_computed_apart():
    from mindcv_hrnet.serving.ray_app import compute_jobs

    sizes = []

    def model(images):
        sizes.append(images.shape)
        return images.reshape(len(images), -1)[:, :2]

    parts = [np.full((n, 1, side, side), n, np.float32) for n, side in ((1, 2), (2, 2), (3, 4))]
    answers = compute_jobs([(model, part) for part in parts])
    assert sizes == [(3, 1, 2, 2), (3, 1, 4, 4)]
    assert [answer[:, 0].tolist() for answer in answers] == [[1], [2, 2], [3, 3, 3]]
