"""A new model file under load, in one process: ONNX and MINDIR, and what a defect of the loader does."""

import asyncio
import importlib
import os
import shutil
import time

import pytest
from tiny_onnx import write_tiny_onnx

from mindcv_hrnet.deploy.runner import OnnxModel
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.serving import servable
from mindcv_hrnet.serving.service import Service
from mindcv_hrnet.serving.settings import Settings


def put(source, target):
    """Replace a file in one step, as every writer should."""
    shutil.copy(source, target.with_suffix(".new"))
    os.replace(target.with_suffix(".new"), target)


def ask_until(running, request, done):
    client_module = importlib.import_module("serving_client")
    statuses = []

    async def one(until):
        client = client_module.Client(running.port)
        while not done() and time.monotonic() < until:
            statuses.append((await client.ask(request))[0])
        client.close()

    async def everyone():
        await asyncio.gather(*(one(time.monotonic() + 60) for _ in range(4)))

    asyncio.run(everyone())
    assert done()
    return statuses


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("order", [("onnx", "mindir"), ("mindir", "mindir"), ("mindir", "onnx")])
def test_no_request_is_lost(serve, tiny_mindir, tiny_onnx, tmp_path, picture, order):
    files = {"mindir": tiny_mindir[0], "onnx": tiny_onnx}
    path = tmp_path / "model"
    shutil.copy(files[order[0]], path)
    running = serve(path, watch_s=0.05)
    first = running.service.servable
    request = importlib.import_module("serving_client").request_of("/classify", picture("blue"))
    put(files[order[1]], path)
    statuses = ask_until(running, request, lambda: running.service.servable is not first)
    assert set(statuses) == {200}
    assert running.service.servable.model.format == order[1].upper()
    with running.client() as client:
        label = client.post("/classify", content=picture("blue")).json()["predictions"][0]["label"]
    assert (label == "blue") == (order[1] == "onnx")


def test_a_defect_of_the_loader_ends_nothing(serve, tiny_onnx, tmp_path, picture, monkeypatch, caplog):
    path = tmp_path / "tiny.onnx"
    shutil.copy(tiny_onnx, path)
    running = serve(path, watch_s=0.05)
    first = running.service.servable
    load, calls = servable.load_model, []

    def fail_once(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("a defect\nof two lines")
        return load(*arguments, **options)

    monkeypatch.setattr(servable, "load_model", fail_once)
    put(tiny_onnx, path)
    until = time.monotonic() + 20
    while not calls and time.monotonic() < until:
        time.sleep(0.02)
    put(write_tiny_onnx(tmp_path / "next", class_names=("a", "b", "c")), path)
    while running.service.servable is first and time.monotonic() < until:
        time.sleep(0.02)
    with running.client() as client:
        assert client.post("/classify", content=picture("blue")).json()["predictions"][0]["label"] == "c"
    (record,) = (record for record in caplog.records if record.getMessage() == "model not replaced")
    assert record.fields == {"reason": "a defect"} and record.exc_info


def test_executors_need_an_onnx_file(tiny_mindir, tiny_onnx):
    threads = Settings("").threads_per_worker  # of a batch, as in the other tests: MindSpore takes one number
    two = {"executors": 2, "threads": 2 * threads}
    with pytest.raises(CheckpointError, match="a MINDIR computes one batch at a time; --executors 1"):
        Service.load(Settings(str(tiny_mindir[0]), **two))
    model = Service.load(Settings(str(tiny_onnx), **two)).servable.model
    assert isinstance(model, OnnxModel) and model.session.get_session_options().intra_op_num_threads == threads
