"""MindSpore's .ckpt: a protobuf message `Checkpoint { repeated Value { tag, TensorProto { dims, type, content } } }`.

Read by itself and not by MindSpore, which logs and wraps its errors, and takes a second to import.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindcv_hrnet.runtime.protobuf import BYTES, EndsEarly, NoMessage, read_fields, read_varint
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
STRANGE = "it does not have the structure of a checkpoint"


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
    try:
        for field, value in _fields(data, MOST_TENSORS):
            if field != 1 or not isinstance(value, memoryview):
                raise ValueError(STRANGE)
            name, kind, dims, content = _entry(value)
            # A tensor above 512 MB is cut into pieces of the same name
            pieces.setdefault(name, []).append(content)
            kinds[name] = kind, dims
    except EndsEarly:
        raise ValueError("it ends too early") from None
    except NoMessage:
        raise ValueError(STRANGE) from None
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
                        number, size = read_varint(item[position:])
                        position += size
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
    """(number, value) of each field of a message."""
    for number, value, start, size in read_fields(lambda at, count: data[at : at + count], 0, len(data), most):
        yield number, data[start : start + size] if value is None else value


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
    return _encoded(field << 3 | BYTES) + _encoded(len(data)) + data
