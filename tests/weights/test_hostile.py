"""Small files that ask for gigabytes or hours: each is refused in an instant, in one line."""

import json
import os
import pickle
import pickletools
import resource
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights import read_weights
from mindcv_hrnet.weights.formats.mindspore import write_ckpt
from mindcv_hrnet.weights.formats.pickle import MOST_INSTRUCTIONS
from mindcv_hrnet.weights.formats.pytorch import LEGACY_START, _pickled, write_zip
from mindcv_hrnet.weights.formats.safetensors import write_safetensors

SMALL = {"a.weight": np.arange(8, dtype=np.float32).reshape(4, 2)}
MOST_SECONDS, MOST_BYTES = 5.0, 600_000_000


def refusal(path):
    """The message, which came soon and without much memory: what needs more gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, hard))
    started = time.process_time()  # of this process: it does not grow with what else runs
    try:
        with pytest.raises(CheckpointError) as error:
            read_weights(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - started < MOST_SECONDS
    assert "\n" not in str(error.value) and "MemoryError" not in str(error.value)
    return str(error.value)


def rewritten(path, changes, **compression):
    """A PyTorch file with some of its records replaced."""
    write_zip(SMALL, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **compression) as archive:
        for name, data in {**parts, **changes(parts)}.items():
            archive.writestr(f"archive/{name}", data)
    return path


def int32(number):
    return b"J" + struct.pack("<i", number)


@pytest.mark.parametrize(
    ("shape", "strides", "reason"),
    [
        ((1_000_000, 1_000_000), (0, 0), "a.weight is expanded from fewer values than it has"),
        ((100_000, 2), (0, 1), "a.weight is expanded from fewer values than it has"),
        ((4, 2), (2, 100), "a.weight reaches beyond its storage"),
    ],
)
def test_strides_that_make_much_of_little(tmp_path, shape, strides, reason):
    def change(parts):
        before = b"(" + int32(4) + int32(2) + b"t(" + int32(2) + int32(1) + b"t"
        after = b"(" + b"".join(map(int32, shape)) + b"t(" + b"".join(map(int32, strides)) + b"t"
        assert before in parts["data.pkl"]
        return {"data.pkl": parts["data.pkl"].replace(before, after)}

    assert reason in refusal(rewritten(tmp_path / "w.pth", change))


@pytest.mark.parametrize("record", ["byteorder", "data.pkl", ".mindcv_hrnet/class_names.json"])
@pytest.mark.slow
def test_zip_bombs(tmp_path, record):
    path = rewritten(tmp_path / "w.pth", lambda _: {record: bytes(1 << 28)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    assert "its parts are larger than the file" in refusal(path)


def test_one_storage_under_many_names(tmp_path):
    """2,000 tensors, all in half precision, that share a storage of a megabyte: 4 GB as float32."""
    shared = np.zeros(1 << 19, np.float32)
    path = tmp_path / "w.pth"
    write_zip({f"layer.{number}.weight": shared[:1] for number in range(2000)}, path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read("archive/data.pkl")
    content = content.replace(b"FloatStorage", b"HalfStorage").replace(int32(1), int32(1 << 20))
    content = content.replace(b"t(" + int32(1 << 20), b"t(" + int32(1))

    def text(key):
        return b"X" + struct.pack("<I", len(key)) + key.encode()

    for number in range(2000):
        content = content.replace(text(str(number)) + text("cpu"), text("0") + text("cpu"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(1 << 21))
    assert "is expanded from fewer values than it has" in refusal(path)


def safetensors(path, header, values=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            {f"w.{n}": {"dtype": "F16", "shape": [512], "data_offsets": [0, 1024]} for n in range(8000)},
            "begins at byte 0",
        ),
        ({"w": {"dtype": "F32", "shape": [1] * 300_000, "data_offsets": [0, 4]}}, "w is described wrongly"),
        ({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, "w is described wrongly"),
        ({"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, "w is described wrongly"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, "begins at byte 4"),
        ({"w": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}}, "w is described wrongly"),
        (b'{"w":' + b"[" * 500_000, "RecursionError"),
        (b"{" + b" " * (1 << 25), "its header has 33554433 bytes, more than 16777216"),
        (
            {"__metadata__": {"class_names": "[1]"}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
            "class_names is no list",
        ),
        (
            {
                "__metadata__": {"class_names": "[" * 90_000},
                "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            "class_names is no list",
        ),
    ],
    ids=[
        "overlapping",
        "dimensions",
        "bool",
        "negative",
        "backwards",
        "huge",
        "nested",
        "long",
        "names",
        "nested-names",
    ],
)
def test_headers_of_safetensors(tmp_path, header, reason):
    assert reason in refusal(safetensors(tmp_path / "w.safetensors", header, bytes(1024)))


@pytest.mark.parametrize("packed", [False, True])
def test_dimensions_without_end(tmp_path, packed):
    dims = b"\xff" * 8 + b"\x7f"
    content = b"\x0a" + varint(300_000 * 9) + dims * 300_000 if packed else (b"\x08" + dims) * 300_000
    tensor = content + b"\x12\x07Float32"
    value = b"\x0a\x01w" + b"\x12" + varint(len(tensor)) + tensor
    path = tmp_path / "w.ckpt"
    path.write_bytes(b"\x0a" + varint(len(value)) + value)
    assert ("more than 32 dimensions" if packed else "more than 64 parts") in refusal(path)


@pytest.mark.slow
def test_entries_without_end(tmp_path):
    path = tmp_path / "w.ckpt"
    path.write_bytes(b"\x0a\x12\x0a\x01w\x12\x0d\x08\x00\x12\x07Float32\x1a\x00" * 1_000_000)
    refusal(path)
    path.write_bytes(b"\x10\x01" * 10_000_000)
    assert "it does not have the structure of a checkpoint" in refusal(path)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize("kind", ["plain", "comment", "zip64"])
def test_a_zip_directory_that_never_ends(tmp_path, kind):
    """400,000 records without a name would become objects of 300 MB."""
    record = b"PK\1\2" + bytes(42)
    directory = record * 400_000
    size = len(directory)
    stated = 0xFFFFFFFF if kind == "zip64" else size
    comment = b"PK" * 20 if kind == "comment" else b""
    zip64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 400_000, 400_000, size, 4)
    zip64 += struct.pack("<4sIQI", b"PK\6\7", 0, 4 + size, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, stated, 4, len(comment)) + comment
    path = tmp_path / "o.pth"
    path.write_bytes(b"PK\3\4" + directory + (zip64 if kind == "zip64" else b"") + end)
    assert f"its zip directory has {size} bytes, more than 16777216" in refusal(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    for path in (tmp_path / "pipe.ckpt", "/dev/zero"):
        assert refusal(path) == f"{path}: is a pipe or a device, not a file; pass a checkpoint file"


NESTED = b"N" + b"\x85" * 200_000  # a tuple in a tuple in a tuple ...: enough to crash Python where it is hashed
CALL = b"\x85R"  # of one argument


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x8f(" + NESTED + b"\x90.", "a key in its pickle is no plain value"),
        (b"}" + NESTED + b"Ns.", "a key in its pickle is no plain value"),
        (b"(" + NESTED + b"Nd.", "a key in its pickle is no plain value"),
        (b"cbuiltins\nset\n(" + NESTED + b"l" + CALL + b".", "a key in its pickle is no plain value"),
        (b"ccollections\nOrderedDict\n((" + NESTED + b"Ntl" + CALL + b".", "a key in its pickle is no plain value"),
        (NESTED + b"X\x01\0\0\0x\x93.", "a name in its pickle is no text"),
        (b"]\x94" * 200_000 + b"\x93.", "a name in its pickle is no text"),
        (b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "it ends too early"),
        (b"\x8b" + struct.pack("<i", 1 << 30) + b"x.", "it ends too early"),
        (b"\x8f" * 1_000_000, "its pickle has more than 500000 instructions"),
        # a list of 100,000 elements, copied 9,000 times
        (
            b"(" + b"N" * 100_000 + b"lq\0" + b"ctorch\nSize\nq\1" + b"h\1h\0\x85R" * 9000,
            "take more than 500000 elements",
        ),
    ],
    ids=[*("add", "setitem", "dict", "set", "ordered", "name", "names", "bytes", "long", "sets", "copies")],
)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.slow
def test_pickles(tmp_path, content, reason, legacy):
    path = tmp_path / "w.pth"
    if legacy:
        path.write_bytes(LEGACY_START + b"." + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + b"\x80\x04" + content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x04" + content)
    assert reason in refusal(path)


def test_the_instructions_allowed_are_enough_for_any_hrnet():
    tensors = {f"stage4.2.branches.3.{n}.conv1.weight": np.zeros((1, 1, 3, 3), np.float32) for n in range(5000)}
    assert sum(1 for _ in pickletools.genops(_pickled(tensors))) < MOST_INSTRUCTIONS / 2


@pytest.mark.parametrize("write", [write_ckpt, lambda arrays, path: write_safetensors(arrays, path, {}), write_zip])
def test_any_value_that_is_damaged_is_noticed(tmp_path, write):
    path = tmp_path / "w"
    write(SMALL, path)
    whole = path.read_bytes()
    start = whole.find(SMALL["a.weight"].tobytes())
    for place in range(SMALL["a.weight"].nbytes):
        path.write_bytes(whole[: start + place] + bytes([whole[start + place] ^ 4]) + whole[start + place + 1 :])
        assert "checksum differs" in refusal(path) or "CRC" in refusal(path)
