"""A server of this process's own, over a model file that is read in no time."""

import io
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from PIL import Image
from repository import SCRIPTS
from tiny_onnx import write_tiny_onnx

from mindcv_hrnet.serving.service import Service
from mindcv_hrnet.serving.settings import Settings
from mindcv_hrnet.serving.worker import build_server


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory):
    """Path of a file whose classes are the colours."""
    return write_tiny_onnx(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="session")
def picture():
    """A function (colour, kind) -> an encoded image of one colour."""

    def encode(colour, kind="PNG", size=(50, 40)):
        file = io.BytesIO()
        Image.new("RGB", size, colour).save(file, kind)
        return file.getvalue()

    return encode


@dataclass
class Running:
    """A server that listens."""

    port: int
    service: object

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def client(self, **headers):
        return httpx.Client(base_url=f"http://{self.address}", headers=headers, timeout=30)


@contextmanager
def servers():
    """A function (model file, key="", **settings) -> Running; they end with the block."""
    ends = []

    def begin(path, key="", **settings):
        settings = Settings(str(path), **settings)
        service = Service.load(settings)
        server = build_server(settings, service, key)
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        ends.append((server, thread))
        return Running(listening.getsockname()[1], service)

    yield begin
    for server, thread in ends:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def serve():
    with servers() as begin:
        yield begin


@pytest.fixture(scope="module")
def serve_module():
    with servers() as begin:
        yield begin


@pytest.fixture
def scripts(monkeypatch):
    """Makes the modules of scripts/ importable."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def pixels():
    """A function (n, dtype) -> (n, 3, 32, 32), where image i has most of channel i % 3."""

    def make(count, dtype=np.uint8):
        values = np.full((count, 3, 32, 32), 100, np.uint8)
        for index in range(count):
            values[index, index % 3] = 150
        return values if dtype == np.uint8 else ((values - 127.5) / 25.5).astype(np.float32)

    return make
