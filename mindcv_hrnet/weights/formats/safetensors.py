"""safetensors: eight bytes of header length, a JSON header, the values one after the other."""

from __future__ import annotations

import json
import math
import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mindcv_hrnet.weights.formats.contents import CLASS_NAMES, Contents, class_names_from_text, class_names_to_text
from mindcv_hrnet.weights.formats.half import widen_bfloat16
from mindcv_hrnet.weights.formats.limits import MOST_DIMENSIONS, is_size

SAFETENSORS_DTYPES = {
    **{"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2"},
    **{
        "I64": "i8",
        "I32": "i4",
        "I16": "i2",
        "I8": "i1",
        "U64": "u8",
        "U32": "u4",
        "U16": "u2",
        "U8": "u1",
        "BOOL": "?",
    },
}
SAFETENSORS_TYPE_NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32"}
ALIGNMENT = 8
CHECKSUM = "crc_num"
LONGEST_HEADER = 1 << 24


def read_safetensors(path: Path) -> Contents:
    """What the file holds; the names of classes are in its metadata."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    if 8 + length > len(data):
        raise ValueError("it ends too early")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {LONGEST_HEADER}")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None) or {}
    values = memoryview(data)[8 + length :]
    arrays: dict[str, np.ndarray] = {}
    parts: dict[str, memoryview] = {}
    place = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        kind = np.dtype(f"<{SAFETENSORS_DTYPES[entry['dtype']]}")
        if not all(map(is_size, (begin, end, *entry["shape"]))) or len(entry["shape"]) > MOST_DIMENSIONS:
            raise ValueError(f"{name} is described wrongly")
        if begin != place or end < begin:
            raise ValueError(f"{name} begins at byte {begin} of the values, where the one before ends at {place}")
        if end > len(values):
            raise ValueError(f"it ends too early, {name} is not in it as a whole")
        place = end
        parts[name] = values[begin:end]
        if end - begin != math.prod(entry["shape"]) * kind.itemsize:
            raise ValueError(f"the size of {name} is not that of its shape")
        array = np.frombuffer(values[begin:end], kind).reshape(entry["shape"])
        arrays[name] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(parts):
        raise ValueError("its checksum differs from its content")
    names = metadata.get(CLASS_NAMES)
    return Contents(arrays, [], class_names_from_text(names) if names else ())


def _checksum(parts: Mapping[str, bytes | memoryview]) -> str:
    """CRC32 as MindSpore has it: over each name and its values, in the order of the names."""
    checksum = 0
    for name in sorted(parts):
        checksum = crc32(parts[name], crc32(name.encode(), checksum))
    return str(checksum)


def write_safetensors(
    arrays: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str], class_names: Sequence[str] = ()
) -> None:
    """Write arrays in their order; `metadata` is text by name."""
    contiguous = {name: np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for name, array in arrays.items()}
    names = {CLASS_NAMES: class_names_to_text(class_names)} if class_names else {}
    header: dict[str, object] = {"__metadata__": {**metadata, CHECKSUM: _checksum(contiguous), **names}}
    end = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": SAFETENSORS_TYPE_NAMES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
