"""safetensors: eight bytes of header length, a JSON header, the values one after the other."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindcv_hrnet.weights.formats.half import widen_bfloat16

KINDS = {
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
NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32"}
ALIGNMENT = 8


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """(name -> array, remarks)."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    if 8 + length > len(data):
        raise ValueError("it ends too early")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    values = memoryview(data)[8 + length :]
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = np.dtype(f"<{KINDS[entry['dtype']]}")
        if not 0 <= begin <= end <= len(values):
            raise ValueError(f"it ends too early, {name} is not in it as a whole")
        if end - begin != math.prod(entry["shape"]) * kind.itemsize:
            raise ValueError(f"the size of {name} is not that of its shape")
        array = np.frombuffer(values[begin:end], kind).reshape(entry["shape"])
        arrays[name] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array
    return arrays, []


def write_safetensors(arrays: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str]) -> None:
    """Write arrays in their order; `metadata` is text by name."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": NAMES[array.dtype.str[1:]],
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
