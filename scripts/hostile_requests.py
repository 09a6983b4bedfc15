"""Requests that a server must refuse, of many kinds and drawn from a seed; and how to send them.

Only ever sent to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from serving_client import HOST, read_response, request_of

CLOSED = 0
"""Instead of a status: the server closed the connection without a word."""
Kind = Callable[[random.Random, str, int], bytes]


@dataclass(frozen=True)
class Hostile:
    """`way`: "send" all at once; "hang up" after sending, as half of a request; "drip" or "drip body" byte by byte."""

    kind: str
    data: bytes
    way: str = "send"


def hostile_requests(count: int, model: str, side: int, seed: int = 0) -> Iterator[Hostile]:
    """`count` requests, every kind about as often. `side`: of the model's input, 3 channels."""
    dice = random.Random(seed)
    kinds = [*KINDS.items()]
    for number in range(count):
        name, (make, way) = kinds[number % len(kinds)]
        yield Hostile(name, make(dice, model, side), way)


async def send(port: int, hostile: Hostile, patience_s: float = 30.0) -> int:
    """The status of the answer, or CLOSED."""
    return await asyncio.wait_for(_send(port, hostile), patience_s)


async def _send(port: int, hostile: Hostile) -> int:
    reader, writer = await asyncio.open_connection(HOST, port, limit=2**20)
    try:
        if hostile.way.startswith("drip"):
            return await _drip(reader, writer, hostile)
        writer.write(hostile.data)
        if hostile.way == "hang up":
            writer.write_eof()
        return (await read_response(reader))[0]
    except (ConnectionError, asyncio.IncompleteReadError):
        return CLOSED
    finally:
        writer.close()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hostile: Hostile) -> int:
    """A byte now and then, until the server answers."""
    answer = asyncio.create_task(read_response(reader))
    start = hostile.data.find(b"\r\n\r\n") + 4 if hostile.way == "drip body" else 0
    writer.write(hostile.data[:start])
    for position in range(start, len(hostile.data)):
        if answer.done():
            break
        writer.write(hostile.data[position : position + 1])
        await asyncio.wait((answer,), timeout=0.1)
    return (await answer)[0]


def _infer(model: str, content: Any, binary: bytes = b"", **headers: str) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    if binary:
        headers.setdefault("inference-header-content-length", str(len(text)))
    return request_of(f"/v2/models/{model}/infer", text + binary, headers)


def _tensor(side: int, **changes: Any) -> dict[str, Any]:
    """A good request of one UINT8 image but for `changes`."""
    return {"inputs": [{"name": "input", "shape": [1, 3, side, side], "datatype": "UINT8", "data": [0], **changes}]}


def _broken_json(dice: random.Random, model: str, side: int) -> bytes:
    text = json.dumps(_tensor(side, data=[0] * 20)).encode()
    cut = dice.randrange(len(text))
    return _infer(model, dice.choice([text[:cut], text[:cut] + b"\xff" + text[cut:], b"", b"null", b"[]", b"[" * 9999]))


def _wrong_shape(dice: random.Random, model: str, side: int) -> bytes:
    values = [-1, 0, 1, 2, 3, side, side + 1, 2**31, 2**62, 10**400, 1.5, "3", None, True, []]
    shape: Any = [dice.choice(values) for _ in range(dice.randrange(7))]
    if shape == [1, 3, side, side]:
        shape = []
    return _infer(model, _tensor(side, shape=dice.choice([shape, shape, None, 3, {}])))


def _wrong_values(dice: random.Random, model: str, side: int) -> bytes:
    count = 3 * side * side
    worst: Any = dice.choice([256, -1, 0.5, "0", None, True, {}, [0, 0], 10**30])
    where = dice.randrange(count)
    return _infer(model, _tensor(side, data=[0] * where + [worst] + [0] * (count - where - 1)))


def _wrong_words(dice: random.Random, model: str, side: int) -> bytes:
    changes = [
        {"name": "images"},
        {"name": None},
        {"datatype": "FP64"},
        {"datatype": ["UINT8"]},
        {"data": None},
        {"data": "text"},
        {"data": {"0": 1}},
        {"parameters": {"binary_data_size": -1}},
        {"parameters": {"binary_data_size": 2**70}},
        {"parameters": []},
    ]
    content = _tensor(side, data=[0] * (3 * side * side))
    content["inputs"][0].update(dice.choice(changes))
    wholes = [
        content,
        content,
        content,
        {**content, "inputs": []},
        {**content, "inputs": content["inputs"] * 2},
        {**_tensor(side), "outputs": [{"name": "boxes"}]},
        {**_tensor(side), "outputs": [{"name": "logits", "parameters": {"classification": 0}}]},
        {**_tensor(side), "id": 5},
    ]
    return _infer(model, dice.choice(wholes))


def _not_finite(dice: random.Random, model: str, side: int) -> bytes:
    values = [0.0] * (3 * side * side)
    values[dice.randrange(len(values))] = dice.choice([float("nan"), float("inf"), -float("inf")])
    raw = struct.pack(f"<{len(values)}f", *values)
    tensor = {"name": "input", "shape": [1, 3, side, side], "datatype": "FP32"}
    return _infer(model, {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}, raw)


def _lying_lengths(dice: random.Random, model: str, side: int) -> bytes:
    raw = bytes(dice.randrange(1, 3 * side * side))
    size = dice.choice([len(raw), len(raw), len(raw) + 1, len(raw) - 1, 0])
    content = _tensor(side, parameters={"binary_data_size": size})
    del content["inputs"][0]["data"]
    length = dice.choice([None, None, "0", "-1", "1e3", "9" * 30, "x", str(10**9)])
    return _infer(model, content, raw, **({"inference-header-content-length": length} if length else {}))


def _lying_bytes(dice: random.Random, model: str, side: int) -> bytes:
    raw = dice.choice([b"\1", struct.pack("<I", 2**32 - 1) + b"ab", struct.pack("<II", 0, 7), struct.pack("<I", 3)])
    tensor = {"name": "input", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    return _infer(model, {"inputs": [tensor]}, raw)


def _png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _bomb(dice: random.Random, model: str, side: int) -> bytes:
    zeros = zlib.compress(bytes(4_000_000), 9)
    huge = [
        _png(60_000, 60_000, zeros),
        _png(2**31 - 1, 2**31 - 1, zeros),
        _png(8_000, 8_000, zeros),  # beyond our limit, within Pillow's
        b"P6 60000 60000 255\n" + bytes(100),
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(50),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    ]
    image = dice.choice(huge)
    encoded = {"name": "input", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(image).decode()]}
    return dice.choice([request_of("/classify", image), _infer(model, {"inputs": [encoded]})])


def _packed(dice: random.Random, model: str, side: int) -> bytes:
    body = gzip.compress(bytes(10_000_000))
    return request_of("/classify", body, {"content-encoding": dice.choice(["gzip", "deflate", "br", "zstd"])})


def _bad_image(dice: random.Random, model: str, side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 99, 199)).save(file, dice.choice(["JPEG", "PNG"]))
    whole = file.getvalue()
    images = [
        whole[: dice.randrange(1, len(whole) // 2)],
        bytes(dice.randrange(256) for _ in range(300)),
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\xff\xd8\xff\xd9",
        b"P6 0 0 255\n",
    ]
    return request_of("/classify", dice.choice(images))


def _bad_form(dice: random.Random, model: str, side: int) -> bytes:
    part = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nnot an image\r\n'
    forms = [
        (b"", "multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (part, "multipart/form-data; boundary=x"),
        (part + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (part * 5 + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (part.replace(b"; filename", b"; file") * 50 + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (bytes(1000), "multipart/form-data; boundary=" + "y" * 500),
    ]
    body, kind = dice.choice(forms)
    return request_of("/classify", body, {"content-type": kind})


def _huge_headers(dice: random.Random, model: str, side: int) -> bytes:
    long = "a" * dice.choice([20_000, 100_000, 1_000_000])
    headers = dice.choice([{"x-long": long}, {f"x-{k}": "b" * 200 for k in range(300)}, {"cookie": long}])
    return request_of("/classify", b"", headers)


def _not_http(dice: random.Random, model: str, side: int) -> bytes:
    host = f"host: {HOST}\r\n"
    texts = [
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "HELO there\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        f"POST /classify HTTP/1.1\r\n{host}content-length: -5\r\n\r\n",
        f"POST /classify HTTP/1.1\r\n{host}content-length: five\r\n\r\n",
        f"POST /classify HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        f"POST /classify HTTP/1.1\r\n{host}transfer-encoding: rot13\r\n\r\nabc",
        f"POST /classify HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n",
        "GET / HTTP/1.1\r\n\r\n",  # no host
        f"GET / HTTP/1.1\r\n{host}bad header: 1\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}x: a\0b\r\n\r\n",
    ]
    return dice.choice(texts).encode("latin-1")


def _strange_path(dice: random.Random, model: str, side: int) -> bytes:
    paths = [
        "/../../etc/passwd",
        "/static-offline-docs/..%2f..%2fcore.py",
        "/page%00.js",
        "/v2/models/%ff%fe/infer",
        f"/v2/models/{model}/versions/0/infer",
        "/v2/models/" + "m" * 5000 + "/infer",
        f"/v2/models/{model}x/infer",
        "/classify?top=0",
        "/classify?top=many",
        "/classify?top=1001",
        "/v2/repository/index",
        "/v2/health/live",  # a POST
        "/metrics",
    ]
    return request_of(dice.choice(paths), b"abc")


def _too_long(dice: random.Random, model: str, side: int) -> bytes:
    return request_of(
        "/classify", b"abc", {"content-length": str(dice.choice([2**25, 2**40, 10**18])), "expect": "100-continue"}
    )


def _cut_off(dice: random.Random, model: str, side: int) -> bytes:
    whole = request_of("/classify", bytes(5000))
    return whole[: dice.randrange(20, len(whole) - 1)]


def _slow(dice: random.Random, model: str, side: int) -> bytes:
    return request_of("/classify", bytes(dice.randrange(500, 5000)))


KINDS: dict[str, tuple[Kind, str]] = {
    "broken JSON": (_broken_json, "send"),
    "wrong shapes": (_wrong_shape, "send"),
    "wrong values": (_wrong_values, "send"),
    "wrong words": (_wrong_words, "send"),
    "not finite": (_not_finite, "send"),
    "lying lengths": (_lying_lengths, "send"),
    "lying BYTES": (_lying_bytes, "send"),
    "bombs": (_bomb, "send"),
    "compressed bodies": (_packed, "send"),
    "bad images": (_bad_image, "send"),
    "bad forms": (_bad_form, "send"),
    "huge headers": (_huge_headers, "send"),
    "not HTTP": (_not_http, "send"),
    "strange paths": (_strange_path, "send"),
    "too long": (_too_long, "send"),
    "cut off": (_cut_off, "hang up"),
    "slow headers": (_slow, "drip"),
    "slow bodies": (_slow, "drip body"),
}
