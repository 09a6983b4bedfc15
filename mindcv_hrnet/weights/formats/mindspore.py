"""MindSpore's .ckpt: a protobuf message `Checkpoint { repeated Value { tag, TensorProto { dims, type, content } } }`.

Read by itself and not by MindSpore, which logs and wraps its errors, and takes a second to import.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mindcv_hrnet.weights.formats.half import widen_bfloat16

KINDS = {
    **{"Float64": "f8", "Float32": "f4", "Float16": "f2", "BFloat16": "u2", "Bool": "?"},
    **{"Int64": "i8", "Int32": "i4", "Int16": "i2", "Int8": "i1"},
    **{"UInt64": "u8", "UInt32": "u4", "UInt16": "u2", "UInt8": "u1"},
}
TEXT = "str"
NAMES = {kind: name for name, kind in KINDS.items() if name != "BFloat16"}
CRC = b"crc_num"
CRC_BYTES = 10
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def read_ckpt(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """(name -> array, remarks). Texts that MindSpore allows beside the tensors are left out, with a remark."""
    data = memoryview(path.read_bytes())
    tail = len(CRC) + CRC_BYTES
    if data[-tail:-CRC_BYTES] == CRC:
        expected = int.from_bytes(data[-CRC_BYTES:], "big")
        data = data[:-tail]
        if binascii.crc32(data) != expected:
            raise ValueError("its checksum differs from its content")
    pieces: dict[str, list[memoryview]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for field, value in _fields(data):
        if field == 1 and isinstance(value, memoryview):
            name, kind, dims, content = _entry(value)
            # A tensor above 512 MB is cut into pieces of the same name
            pieces.setdefault(name, []).append(content)
            kinds[name] = kind, dims
    texts = [name for name, (kind, _) in kinds.items() if kind == TEXT]
    remarks = [f"{len(texts)} texts left out ({', '.join(texts[:3])})"] if texts else []
    arrays = {name: _array(name, *kinds[name], pieces[name]) for name in kinds if name not in texts}
    if not arrays:
        raise ValueError("it holds no parameters")
    return arrays, remarks


def _entry(value: memoryview) -> tuple[str, str, tuple[int, ...], memoryview]:
    """(name, type, dimensions, content) of one `Value`."""
    name, kind, content = "", "", memoryview(b"")
    dims: list[int] = []
    for field, part in _fields(value):
        if field == 1 and isinstance(part, memoryview):
            name = str(part, "utf-8")
        elif field == 2 and isinstance(part, memoryview):
            for inner, item in _fields(part):
                if inner == 1 and isinstance(item, int):
                    dims.append(item)
                elif inner == 1 and isinstance(item, memoryview):  # packed
                    position = 0
                    while position < len(item):
                        number, position = _varint(item, position)
                        dims.append(number)
                elif inner == 2 and isinstance(item, memoryview):
                    kind = str(item, "utf-8")
                elif inner == 3 and isinstance(item, memoryview):
                    content = item
    if not name or (kind not in KINDS and kind != TEXT):
        raise ValueError(f"entry {name!r} has the unknown type {kind!r}")
    return name, kind, tuple(dims), content


def _array(name: str, kind: str, dims: tuple[int, ...], pieces: list[memoryview]) -> np.ndarray:
    shape = () if dims == (0,) else dims  # MindSpore's way to write a scalar
    dtype = np.dtype(f"<{KINDS[kind]}")
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the size of {name} is not that of its shape")
    # Copied, because values that do not begin at a multiple of their size are slow to compute with
    array = np.frombuffer(content, np.uint8).copy().view(dtype).reshape(shape)
    return widen_bfloat16(array) if kind == "BFloat16" else array


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a protobuf message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == VARINT:
            number, position = _varint(data, position)
            yield key >> 3, number
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if wire == LENGTH:
            size, position = _varint(data, position)
        if size is None or position + size > len(data):
            raise ValueError("it ends too early" if size else "it does not have the structure of a checkpoint")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 64:
        if position >= len(data):
            raise ValueError("it ends too early")
        byte = data[position]
        result |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return result, position
        shift += 7
    raise ValueError("it does not have the structure of a checkpoint")


# --- writing -------------------------------------------------------------------------------------------------------


def write_ckpt(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write what `mindspore.load_checkpoint` reads."""
    with open(path, "wb") as file:
        for name, array in arrays.items():
            dims = array.shape or (0,)
            head = b"".join(b"\x08" + _encoded(size) for size in dims) + _sized(2, NAMES[array.dtype.str[1:]].encode())
            tag = _sized(1, name.encode())
            content = b"\x1a" + _encoded(array.nbytes)
            tensor = len(head) + len(content) + array.nbytes
            start = tag + b"\x12" + _encoded(tensor) + head + content
            file.write(b"\x0a" + _encoded(len(start) + array.nbytes) + start)
            file.write(np.ascontiguousarray(array).tobytes())


def _encoded(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _sized(field: int, data: bytes) -> bytes:
    return _encoded(field << 3 | LENGTH) + _encoded(len(data)) + data
