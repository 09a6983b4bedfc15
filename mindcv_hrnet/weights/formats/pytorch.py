"""PyTorch's .pth files without PyTorch: the zip format of today, and the legacy one of the official HRNet weights."""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mindcv_hrnet.weights.formats.contents import CLASS_NAMES, Contents, class_names_from_text, class_names_to_text
from mindcv_hrnet.weights.formats.half import widen_bfloat16
from mindcv_hrnet.weights.formats.limits import MOST_DIMENSIONS, is_size
from mindcv_hrnet.weights.formats.pickle import PickleRefused, hashable, read_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
LEGACY_PROTOCOL = 1001

STORAGES = {
    **{"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16"},
    **{"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1"},
    **{"ByteStorage": "u1", "BoolStorage": "?"},
}
CLASS_NAMES_RECORD = f".mindcv_hrnet/{CLASS_NAMES}.json"  # PyTorch passes over records that it does not know
MOST_DIRECTORY_BYTES = 1 << 24  # of a zip file: 100 bytes for each of `MOST_TENSORS` are less
# A zip file's last record, of 22 bytes and a comment of 65,535 at most; 76 bytes before it begins zip64's
ZIP_END_BYTES, ZIP64_BEFORE_END = 22, 76
ZIP_TAIL = ZIP_END_BYTES + 65_535 + ZIP64_BEFORE_END
MOST_SHARED = 4  # times that a value may be in several tensors, on average
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights. Like timm, the averaged ones are taken where both are there."""


class _Storage(NamedTuple):
    key: str
    kind: str
    numel: int
    start: int = 0


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; its values come from a storage elsewhere in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(arguments: tuple[Any, ...]) -> _Tensor:
    storage, offset, shape, strides = arguments[:4]
    if (
        not isinstance(storage, _Storage)
        or len(shape) != len(strides)
        or len(shape) > MOST_DIMENSIONS
        or not all(is_size(n) for n in (offset, *shape, *strides))
    ):
        raise ValueError("a tensor is described wrongly")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return {hashable(key): value for key, value in arguments[0]} if arguments else {}


def _nothing(_: tuple[Any, ...]) -> dict[Any, Any]:
    """A value that has no part in the weights, such as a NumPy scalar beside them: an empty container in its place."""
    return {}


CONSTRUCTORS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections OrderedDict": _ordered_dict,
    "collections defaultdict": lambda _: {},
    "builtins set": lambda arguments: {hashable(item) for item in (*arguments, ())[0]},
    "torch Size": lambda arguments: tuple(*arguments),
    "torch device": _nothing,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda arguments: arguments[0],
    # What training scripts keep beside the weights: options and scores
    "argparse Namespace": _nothing,
    "numpy dtype": _nothing,
    "numpy.core.multiarray scalar": _nothing,
    "numpy._core.multiarray scalar": _nothing,
    "_codecs encode": _nothing,
    **{f"torch {name}": (lambda _, name=name: name) for name in STORAGES},  # type: ignore[misc]
}


def _check_directory(path: Path) -> None:
    """Raise ValueError for a zip directory longer than any file of weights has: zipfile reads it as a whole."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - ZIP_TAIL))
        tail = file.read()
    end = len(tail) - ZIP_END_BYTES
    if not (tail[max(end, 0) :].startswith(b"PK\5\6") and tail.endswith(b"\0\0")):
        end = tail.rfind(b"PK\5\6")  # before a comment
    if 0 <= end <= len(tail) - ZIP_END_BYTES:
        (size,) = struct.unpack_from("<I", tail, end + 12)
        if size == 0xFFFFFFFF and end >= ZIP64_BEFORE_END:
            (size,) = struct.unpack_from("<Q", tail, end - ZIP64_BEFORE_END + 40)
        if size > MOST_DIRECTORY_BYTES:
            raise ValueError(f"its zip directory has {size} bytes, more than {MOST_DIRECTORY_BYTES}")


def read_zip(path: Path) -> Contents:
    """What is in a file that `torch.save` wrote since version 1.6."""
    _check_directory(path)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError("its zip directory is missing, as when the end of the file is cut off") from None
    with archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("a zip file, but not one that torch.save wrote: it holds no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        left = path.stat().st_size

        def record(name: str) -> bytes:
            # Entries may lie over each other and may be packed: all that is read must fit into the file at once
            nonlocal left
            left -= archive.getinfo(f"{folder}{name}").file_size
            if left < 0:
                raise ValueError("its parts are larger than the file")
            return archive.read(f"{folder}{name}")

        def storage(wanted: _Storage) -> bytes:
            info = archive.getinfo(f"{folder}data/{wanted.key}")
            if info.file_size != wanted.numel * _item_size(wanted.kind) or info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"the storage {wanted.key} has {info.file_size} bytes, which is not what its tensor needs"
                )
            return record(f"data/{wanted.key}")

        there = set(archive.namelist())
        if f"{folder}byteorder" in there and record("byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        named = f"{folder}{CLASS_NAMES_RECORD}" in there
        class_names = class_names_from_text(record(CLASS_NAMES_RECORD)) if named else ()
        content = read_pickle(io.BytesIO(record("data.pkl")), CONSTRUCTORS, _storage_of)
        return _arrays(content, storage)._replace(class_names=class_names)


def read_legacy(path: Path) -> Contents:
    """What is in a file that `torch.save` wrote before version 1.6."""
    with open(path, "rb") as stream:
        if read_pickle(stream, CONSTRUCTORS) != LEGACY_MAGIC:
            raise ValueError("a pickle, but not one that torch.save wrote")
        if read_pickle(stream, CONSTRUCTORS) != LEGACY_PROTOCOL:
            raise ValueError("a PyTorch file of an unknown protocol")
        if not read_pickle(stream, CONSTRUCTORS).get("little_endian", True):
            raise ValueError("written on a big-endian machine")
        content = read_pickle(stream, CONSTRUCTORS, _storage_of)
        keys = read_pickle(stream, CONSTRUCTORS)
        kinds = {tensor.storage.key: tensor.storage.kind for tensor in _tensors(content)}
        values = {}
        for key in map(hashable, keys):
            (count,) = struct.unpack("<q", _exactly(stream, 8))
            # A storage that no tensor of interest lies in has no kind here; a float's size is the likely one
            values[key] = _exactly(stream, count * _item_size(kinds.get(key, "f4")))
    return _arrays(content, lambda wanted: values[wanted.key])


def _storage_of(identity: Any) -> _Storage:
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise PickleRefused("holds a whole network with its source code; save its state_dict() instead")
    _, kind, key, _, numel, *view = identity
    name = kind.name.removeprefix("torch ") if hasattr(kind, "name") else ""
    if name not in STORAGES or not is_size(numel) or not isinstance(key, str):
        raise ValueError(f"a storage of unknown type {name!r}")
    start = 0
    if view and view[0] is not None:
        _, start, numel = view[0]
        if not is_size(start) or not is_size(numel):
            raise ValueError("a part of a storage is described wrongly")
    return _Storage(key, STORAGES[name], numel, start)


def _item_size(kind: str) -> int:
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def _exactly(stream: BinaryIO, count: int) -> bytes:
    if not 0 <= count <= os.fstat(stream.fileno()).st_size - stream.tell():
        raise ValueError("it ends too early")
    return stream.read(count)


def _tensors(content: Any) -> list[_Tensor]:
    """Every tensor in a nested value; an explicit stack, because a file may nest deeper than Python may."""
    found, waiting, seen = [], [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Tensor):
            found.append(value)
        elif isinstance(value, (dict, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return found


def _arrays(content: Any, storage: Callable[[_Storage], bytes]) -> Contents:
    state, remarks = _unwrap(content)
    cache: dict[tuple[str, str], np.ndarray] = {}
    arrays, needed = {}, 0
    for name, tensor in state.items():
        key = tensor.storage.key, tensor.storage.kind
        if key not in cache:
            data = storage(tensor.storage)
            cache[key] = np.frombuffer(data, "<u2" if tensor.storage.kind == "bf16" else f"<{tensor.storage.kind}")
        flat = cache[key][tensor.storage.start :]
        steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
        if 0 not in tensor.shape and tensor.offset + steps >= len(flat):
            raise ValueError(f"{name} reaches beyond its storage")
        size = math.prod(tensor.shape)
        # Strides can make a terabyte of one value
        needed += size
        if size > len(flat) or needed > MOST_SHARED * sum(map(len, cache.values())):
            raise ValueError(f"{name} is expanded from fewer values than it has; save it after .contiguous()")
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, [stride * flat.itemsize for stride in tensor.strides], writeable=False
        )
        arrays[name] = widen_bfloat16(view) if tensor.storage.kind == "bf16" else view
    return Contents(arrays, remarks)


def _unwrap(content: Any) -> tuple[dict[str, _Tensor], list[str]]:
    """The mapping that holds the tensors, and where it was found."""

    def is_state(value: Any) -> bool:
        return isinstance(value, dict) and any(isinstance(item, _Tensor) for item in value.values())

    remarks = []
    if isinstance(content, dict):
        inside = [key for key in WRAPPERS if is_state(content.get(key))]
        if inside:
            others = [str(key) for key in content if key != inside[0]]
            remarks.append(f"taken from {inside[0]!r}" + (f", leaving {', '.join(others)}" if others else ""))
            content = content[inside[0]]
    if not is_state(content):
        found = f"but {', '.join(map(str, list(content)[:3]))}" if isinstance(content, dict) else "and no names at all"
        raise PickleRefused(
            f"holds no tensors by name, nor such under {', '.join(WRAPPERS)}, {found}; save a state_dict()"
        )
    strangers = [str(name) for name, value in content.items() if not isinstance(value, _Tensor)]
    if strangers:
        remarks.append(f"{len(strangers)} entries that are no tensors left out ({', '.join(strangers[:3])})")
    return {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}, remarks


# --- writing -------------------------------------------------------------------------------------------------------


def write_zip(arrays: Mapping[str, np.ndarray], path: Path, class_names: Sequence[str] = ()) -> None:
    """Write a state dict as `torch.save` does; `torch.load(..., weights_only=True)` reads it. float32 and int64."""
    assert sys.byteorder == "little"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)  # with a fixed date: same weights, same bytes

        add("data.pkl", _pickled(arrays))
        add("byteorder", b"little")
        for number, array in enumerate(arrays.values()):
            add(f"data/{number}", np.ascontiguousarray(array).tobytes())
        add("version", b"3\n")
        if class_names:
            add(CLASS_NAMES_RECORD, class_names_to_text(class_names).encode())


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """OrderedDict of tensors, as opcodes of protocol 2."""
    kinds = {np.dtype("f4"): "FloatStorage", np.dtype("i8"): "LongStorage"}
    empty_dict = b"ccollections\nOrderedDict\n)R"
    out = [b"\x80\x02", empty_dict, b"("]
    for number, (name, array) in enumerate(arrays.items()):
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(("]
        out += [_text("storage"), f"ctorch\n{kinds[array.dtype]}\n".encode(), _text(str(number)), _text("cpu")]
        out += [_number(array.size), b"tQ", _number(0)]
        out += [b"(", *map(_number, array.shape), b"t(", *map(_number, strides), b"t\x89", empty_dict, b"tR"]
    return b"".join([*out, b"u."])


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)
