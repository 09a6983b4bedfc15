"""What a model file is, and the notes in it, read without MindSpore, ONNX or the model's weights.

MINDIR and ONNX are both Protocol Buffers messages of which the outermost fields are alike: field 7 is the graph, and
every field 14 is one note, a message of a key (field 1) and a value (field 2). They differ in field 1, the version,
which MINDIR writes as text and ONNX as a number. (mindspore/core/proto/mind_ir.proto, onnx/onnx.proto)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mindcv_hrnet.deploy.metadata import KEY, Metadata
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import reason_of

MINDIR, ONNX = "MINDIR", "ONNX"
_VERSION, _GRAPH, _NOTE = 1, 7, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
# field and wire type of the first byte
_FORMATS = {(_VERSION << 3) | _BYTES: MINDIR, (_VERSION << 3) | _VARINT: ONNX}
# a MindSpore checkpoint begins like a MINDIR, but has a field 1 for each weight
_CHECKPOINT = (1, 1)
CHECKPOINT = "is a checkpoint, weights alone; pass its run folder, or export it with export.py"
NO_MODEL = "is no model file that export.py wrote (MINDIR or ONNX)"


class _Damaged(Exception):
    """Not a Protocol Buffers message, or only the beginning of one."""


class _Field(NamedTuple):
    number: int
    start: int
    size: int
    """Bytes of content from `start` on."""


def read_container(path: Path) -> tuple[str, Metadata]:
    """(format, metadata) of a file that `export` wrote. CheckpointError: one line that says what is wrong with it."""
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, not a model file; pass a .mindir or .onnx file")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; pass a .mindir or .onnx file that export.py wrote")
    try:
        with open(path, "rb") as file:
            kind = _FORMATS.get(file.read(1)[0]) if path.stat().st_size else None
            if kind is None:
                raise CheckpointError(f"{path}: {NO_MODEL}; export a checkpoint with export.py")
            found: list[_Field] = []
            for field in _fields(file, 0, path.stat().st_size):
                found.append(field)
                if len(found) == len(_CHECKPOINT) and tuple(each.number for each in found) == _CHECKPOINT:
                    raise CheckpointError(f"{path}: {CHECKPOINT}")
            if _GRAPH not in {field.number for field in found}:
                raise _Damaged
            notes = dict(_note(file, field) for field in found if field.number == _NOTE)
    except _Damaged:
        raise CheckpointError(f"{path}: is truncated or damaged; copy or export it again") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason_of(error)})") from None
    if KEY not in notes:
        raise CheckpointError(f"{path}: holds no labels and preprocessing; export it again with export.py")
    return kind, Metadata.from_json(notes[KEY], path)


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    """The outermost fields of the message between two places of the file; what they hold is passed over."""
    position = start
    while position < end:
        file.seek(position)
        tag = _varint(file)
        kind = tag & 7
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size = _varint(file)
        elif kind == _VARINT:
            _varint(file)
        elif not size:
            raise _Damaged
        content = file.tell()
        position = content + size
        if position > end or not tag >> 3:
            raise _Damaged
        yield _Field(tag >> 3, content, size)


def _varint(file: BinaryIO) -> int:
    """A number of seven bits a byte, the lowest first."""
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            raise _Damaged
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value
    raise _Damaged


def _note(file: BinaryIO, note: _Field) -> tuple[str, str]:
    texts = {}
    for field in list(_fields(file, note.start, note.start + note.size)):
        file.seek(field.start)
        texts[field.number] = file.read(field.size)
    try:
        return texts.get(1, b"").decode(), texts.get(2, b"").decode()
    except UnicodeDecodeError:
        raise _Damaged from None
