"""MindSpore's .ckpt: a protobuf message `Checkpoint { repeated Value { tag, TensorProto { dims, type, content } } }`.

Read by itself and not by MindSpore, which logs and wraps its errors, and takes a second to import.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindcv_hrnet.weights.formats.contents import CLASS_NAMES, Contents, class_names_from_text, class_names_to_text
from mindcv_hrnet.weights.formats.half import widen_bfloat16
from mindcv_hrnet.weights.formats.limits import MOST_DIMENSIONS, MOST_TENSORS

CKPT_DTYPES = {
    **{"Float64": "f8", "Float32": "f4", "Float16": "f2", "BFloat16": "u2", "Bool": "?"},
    **{"Int64": "i8", "Int32": "i4", "Int16": "i2", "Int8": "i1"},
    **{"UInt64": "u8", "UInt32": "u4", "UInt16": "u2", "UInt8": "u1"},
}
TEXT = "str"
TEXT_CODE = "utf-32-le"  # four bytes a character, as NumPy has it
CKPT_TYPE_NAMES = {kind: name for name, kind in CKPT_DTYPES.items() if name != "BFloat16"}
CRC = b"crc_num"
CRC_BYTES = 10
MOST_FIELDS = 2 * MOST_DIMENSIONS
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def read_ckpt(path: Path) -> Contents:
    """Texts that MindSpore allows beside the tensors are left out, with a remark; but the names of classes."""
    data = memoryview(path.read_bytes())
    tail = len(CRC) + CRC_BYTES
    if data[-tail:-CRC_BYTES] == CRC:
        expected = int.from_bytes(data[-CRC_BYTES:], "big")
        data = data[:-tail]
        if binascii.crc32(data) != expected:
            raise ValueError("its checksum differs from its content")
    pieces: dict[str, list[memoryview]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for field, value in _fields(data, MOST_TENSORS):
        if field != 1 or not isinstance(value, memoryview):
            raise ValueError("it does not have the structure of a checkpoint")
        name, kind, dims, content = _entry(value)
        # A tensor above 512 MB is cut into pieces of the same name
        pieces.setdefault(name, []).append(content)
        kinds[name] = kind, dims
    texts = [name for name, (kind, _) in kinds.items() if kind == TEXT]
    class_names = class_names_from_text(str(pieces[CLASS_NAMES][0], TEXT_CODE)) if CLASS_NAMES in texts else ()
    arrays = {name: _array(name, *kinds[name], pieces[name]) for name in kinds if name not in texts}
    texts = [name for name in texts if name != CLASS_NAMES]
    remarks = [f"{len(texts)} texts left out ({', '.join(texts[:3])})"] if texts else []
    if not arrays:
        raise ValueError("it holds no parameters")
    return Contents(arrays, remarks, class_names)


def _entry(value: memoryview) -> tuple[str, str, tuple[int, ...], memoryview]:
    """(name, type, dimensions, content) of one `Value`."""
    name, kind, content = "", "", memoryview(b"")
    dims: list[int] = []
    for field, part in _fields(value, MOST_FIELDS):
        if field == 1 and isinstance(part, memoryview):
            name = str(part, "utf-8")
        elif field == 2 and isinstance(part, memoryview):
            for inner, item in _fields(part, MOST_FIELDS):
                if inner == 1 and isinstance(item, int):
                    dims.append(item)
                elif inner == 1 and isinstance(item, memoryview):  # packed
                    position = 0
                    while position < len(item) and len(dims) <= MOST_DIMENSIONS:
                        number, position = _varint(item, position)
                        dims.append(number)
                elif inner == 2 and isinstance(item, memoryview):
                    kind = str(item, "utf-8")
                elif inner == 3 and isinstance(item, memoryview):
                    content = item
    if len(dims) > MOST_DIMENSIONS:
        raise ValueError(f"entry {name!r} has more than {MOST_DIMENSIONS} dimensions")
    if not name or (kind not in CKPT_DTYPES and kind != TEXT):
        raise ValueError(f"entry {name!r} has the unknown type {kind!r}")
    return name, kind, tuple(dims), content


def _array(name: str, kind: str, dims: tuple[int, ...], pieces: list[memoryview]) -> np.ndarray:
    shape = () if dims == (0,) else dims  # MindSpore's way to write a scalar
    dtype = np.dtype(f"<{CKPT_DTYPES[kind]}")
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the size of {name} is not that of its shape")
    # Copied, because values that do not begin at a multiple of their size are slow to compute with
    array = np.frombuffer(content, np.uint8).copy().view(dtype).reshape(shape)
    return widen_bfloat16(array) if kind == "BFloat16" else array


def _fields(data: memoryview, most: int) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a protobuf message, which has no more than `most`."""
    position = count = 0
    while position < len(data):
        count += 1
        if count > most:
            raise ValueError(f"it has more than {most} parts where it needs a few")
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


def write_ckpt(arrays: Mapping[str, np.ndarray], path: Path, class_names: Sequence[str] = ()) -> None:
    """Write what `mindspore.load_checkpoint` reads, with the checksum that it and `read_ckpt` verify."""
    checksum = 0
    with open(path, "wb") as file:

        def add(data: bytes) -> None:
            nonlocal checksum
            checksum = binascii.crc32(data, checksum)
            file.write(data)

        def entry(name: str, dims: Sequence[int], kind: str, content: bytes) -> None:
            head = b"".join(b"\x08" + _encoded(size) for size in dims) + _sized(2, kind.encode())
            head += b"\x1a" + _encoded(len(content))
            start = _sized(1, name.encode()) + b"\x12" + _encoded(len(head) + len(content)) + head
            add(b"\x0a" + _encoded(len(start) + len(content)) + start)
            add(content)

        for name, array in arrays.items():
            entry(
                name, array.shape or (0,), CKPT_TYPE_NAMES[array.dtype.str[1:]], np.ascontiguousarray(array).tobytes()
            )
        if class_names:
            entry(CLASS_NAMES, (0,), TEXT, class_names_to_text(class_names).encode(TEXT_CODE))
        file.write(CRC + checksum.to_bytes(CRC_BYTES, "big"))


def _encoded(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _sized(field: int, data: bytes) -> bytes:
    return _encoded(field << 3 | LENGTH) + _encoded(len(data)) + data
