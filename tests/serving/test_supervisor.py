"""The command itself: workers that die, signals, a new model, and requests meanwhile. Each starts real processes."""

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from repository import ROOT
from tiny_onnx import write_tiny_onnx

from mindcv_hrnet.serving.supervisor import _listen

pytestmark = pytest.mark.usefixtures("scripts")


class Command:
    """`mindcv-hrnet serve` at work; its log lines as they come."""

    def __init__(self, process, log):
        self.process, self._log = process, log

    def events(self, name):
        text = self._log.read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        return [
            content
            for line in lines
            if line.startswith("{")
            for content in [json.loads(line)]
            if content["event"] == name
        ]

    def wait_for(self, name, count=1, patience_s=30):
        until = time.monotonic() + patience_s
        while len(self.events(name)) < count:
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)
        return self.events(name)

    @property
    def port(self):
        return int(self.wait_for("serving")[0]["address"].rsplit(":", 1)[1])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def command(tmp_path):
    """A function (model, *words, **environment) -> Command; ended with the test."""
    with commands(tmp_path) as start:
        yield start


@contextmanager
def commands(folder):
    processes = []

    def start(model, *words, **environment):
        log = folder / f"log{len(processes)}"
        line = [sys.executable, "-m", "mindcv_hrnet", "serve", str(model), "--port", "0", *words]
        with log.open("w") as out:
            process = subprocess.Popen(
                line, cwd=folder, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}
            )
        processes.append(process)
        return Command(process, log)

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def ask_until(port, request, done, clients=4):
    """Statuses of requests without a pause, by several clients, until `done()`."""
    client_module = importlib.import_module("serving_client")
    statuses = []

    async def one():
        client = client_module.Client(port)
        while True:  # one at least
            statuses.append((await client.ask(request))[0])
            if done():
                break
        client.close()

    async def everyone():
        await asyncio.gather(*(one() for _ in range(clients)))

    asyncio.run(everyone())
    return statuses


def workers_of(command):
    return {event["pid"] for event in command.events("worker serves")}


@pytest.mark.slow
def test_workers_die_and_models_change_under_load(command, tmp_path, picture):
    """One life of a server: a killed worker, a bad file, a new file, SIGHUP, SIGTERM."""
    client_module = importlib.import_module("serving_client")
    model = write_tiny_onnx(tmp_path / "tiny.onnx")
    running = command(model, "--workers", "2", "--watch-s", "0.1", "--threads", "1")
    port, request = running.port, client_module.request_of("/classify", picture("blue"))
    running.wait_for("worker serves", 2)
    before = {event["version"] for event in running.events("worker serves")}
    assert len(before) == 1

    def answer():
        return httpx.post(f"http://127.0.0.1:{port}/classify", content=picture("blue")).json()

    # a file that is no model is refused by both, and nothing else happens
    (tmp_path / "bad").write_bytes(b"no model")
    os.replace(tmp_path / "bad", model)
    refused = running.wait_for("model not replaced", 2)
    assert "is no model file that export.py wrote" in refused[0]["reason"]
    assert answer()["version"] in before

    # a new one is taken while requests come without a pause: all are answered
    write_tiny_onnx(tmp_path / "new", class_names=("rot", "grün", "blau"))
    os.replace(tmp_path / "new", model)
    statuses = ask_until(port, request, lambda: len(running.events("model replaced")) >= 2)
    assert statuses and set(statuses) == {200}
    new = answer()
    assert new["version"] not in before and new["predictions"][0]["label"] == "blau"

    # SIGHUP reaches every worker, and the same file is as good as a new one
    running.process.send_signal(signal.SIGHUP)
    statuses = ask_until(port, request, lambda: len(running.events("model replaced")) >= 4)
    assert set(statuses) == {200}

    # a killed worker: its requests are lost, the others' are not, and it comes back with the new model
    killed = sorted(workers_of(running))[0]
    os.kill(killed, signal.SIGKILL)
    (died,) = running.wait_for("worker died")
    assert (died["worker"], died["exit_code"]) == (killed, -signal.SIGKILL)
    assert running.wait_for("worker serves", 3)[2]["version"] == new["version"]
    answered = len(running.events("request"))
    statuses = ask_until(port, request, lambda: len(running.events("request")) > answered + 50)
    assert set(statuses) == {200}

    # numbers of both workers and of the dead one together
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    total = next(float(line.split()[-1]) for line in lines if 'requests_total{route="/classify",status="200"}' in line)
    noted = [event for event in running.events("request") if event["path"] == "/classify"]
    assert total >= len(noted) - 1 > 10
    (workers,) = (
        line for line in lines if line.startswith("mindcv_hrnet_model_workers{") and not line.endswith(" 0.0")
    )
    assert f'version="{new["version"]}"' in workers and workers.endswith(" 2.0")

    assert running.end() == 0
    assert len(running.events("worker ends")) == 2
    assert not any("traceback" in line for line in running._log.read_text().splitlines())


@pytest.mark.slow
def test_requests_in_hand_are_answered_after_sigterm(command, tmp_path, pixels):
    client_module = importlib.import_module("serving_client")
    model = write_tiny_onnx(tmp_path / "busy.onnx", repeat=60)
    running = command(model, "--max-batch", "1", "--threads", "1")
    request = client_module.tensor_request("busy", pixels(1))

    async def together():
        clients = [client_module.Client(running.port) for _ in range(16)]
        asked = [asyncio.create_task(client.ask(request)) for client in clients]
        while not running.events("request"):
            await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*asked)

    answers = asyncio.run(together())
    assert [status for status, _ in answers] == [200] * 16
    assert running.process.wait(30) == 0


@pytest.mark.slow
def test_workers_leave_when_the_supervisor_is_killed(command, tiny_onnx):
    running = command(tiny_onnx)
    running.wait_for("serving")
    (worker,) = workers_of(running)
    running.process.kill()
    running.process.wait()
    running.wait_for("worker ends")
    until = time.monotonic() + 10
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < until:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.onnx"], 4, "error: {}/none.onnx: no such file; pass a .onnx or .mindir file that export.py wrote"),
        (["bad.onnx", "--port", "70000"], 2, "error: --port: 70000 is not accepted; must be <= 65535"),
        (["bad.onnx", "--max-batch", "0"], 2, "error: --max-batch: 0 is not accepted; must be >= 1"),
        (["bad.onnx", "--timeout-s", "0"], 2, "error: --timeout-s: 0.0 is not accepted; must be > 0"),
        (["bad.onnx", "--queue", "15"], 2, "error: --queue: 15 is less than --max-batch 16; one batch must fit"),
        (["bad.onnx", "--workers", "two"], 2, "error: command line: argument --workers: invalid int value: 'two'"),
        (["bad.onnx", "--host", "192.0.2.1"], 2, "error: --host 192.0.2.1 --port 8080: cannot listen there (Cannot"),
        ([], 2, "error: command line: the following arguments are required: MODEL; see --help"),
    ],
)
def test_errors_of_the_command_are_one_line(words, code, message, tmp_path, capsys, monkeypatch):
    from mindcv_hrnet.cli import main

    (tmp_path / "bad.onnx").write_bytes(b"no model")
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    assert main(["serve", *words]) == code
    for number, handler in handlers.items():
        signal.signal(number, handler)
    out, err = capsys.readouterr()
    assert err.startswith(message.format(tmp_path)) and err.count("\n") == 1 and out == ""


@pytest.mark.slow
def test_a_model_that_cannot_be_served(command, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    running = command(tmp_path / "bad.onnx", "--workers", "2")
    assert running.process.wait(30) == 4
    assert "bad.onnx: is no model file that export.py wrote" in running._log.read_text()


def test_an_answer_does_not_wait_for_its_headers_to_be_acknowledged():
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
