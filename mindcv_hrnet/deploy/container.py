"""What a model file is, and the notes in it, read without MindSpore, ONNX or the model's weights.

MINDIR and ONNX are both Protocol Buffers messages of which the outermost fields are alike: field 7 is the graph, and
every field 14 is one note, a message of a key (field 1) and a value (field 2). They differ in field 1, the version,
which MINDIR writes as text and ONNX as a number. (mindspore/core/proto/mind_ir.proto, onnx/onnx.proto)
"""

from __future__ import annotations

from binascii import crc32
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mindcv_hrnet.deploy.metadata import KEY, Metadata
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.runtime.protobuf import BYTES, VARINT, Field, NoMessage, Source, read_fields

MINDIR, ONNX = "MINDIR", "ONNX"
_VERSION, _GRAPH, _NOTE = 1, 7, 14
MOST_FIELDS = 1_000_000  # of a file or of a note; a graph is one field, however large
# field and wire type of the first byte
_FORMATS = {(_VERSION << 3) | BYTES: MINDIR, (_VERSION << 3) | VARINT: ONNX}
SEAL = b"mindcv_hrnet_crc32"
_PIECE = 1 << 20
# a MindSpore checkpoint begins like a MINDIR, but has a field 1 for each weight
_CHECKPOINT = (1, 1)
CHECKPOINT = "is a checkpoint, weights alone; pass its run folder, or export it with export.py"
NO_MODEL = "is no model file that export.py wrote (MINDIR or ONNX)"


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
            source = partial(_bytes_at, file)
            found: list[Field] = []
            for field in read_fields(source, 0, path.stat().st_size, MOST_FIELDS):
                found.append(field)
                if len(found) == len(_CHECKPOINT) and tuple(each.number for each in found) == _CHECKPOINT:
                    raise CheckpointError(f"{path}: {CHECKPOINT}")
            if _GRAPH not in {field.number for field in found}:
                raise NoMessage
            notes = dict(_note(source, field) for field in found if field.number == _NOTE)
    except CheckpointError:
        raise
    except ValueError:  # no message, or no UTF-8 in it
        raise CheckpointError(f"{path}: is truncated or damaged; copy or export it again") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason_of(error)})") from None
    if SEAL.decode() in notes and not _seal_holds(path):
        raise CheckpointError(f"{path}: its checksum differs from its content; copy or export it again")
    if KEY not in notes:
        raise CheckpointError(f"{path}: holds no labels and preprocessing; export it again with export.py")
    return kind, Metadata.from_json(notes[KEY], path)


def seal(path: Path) -> None:
    """Append a note with the checksum of all that is in the file, which both formats pass over.

    A damaged graph may fail only when it computes, or compute something else.
    """
    note = _seal_of(path, path.stat().st_size)
    with open(path, "ab") as file:
        file.write(note)


def _seal_of(path: Path, size: int) -> bytes:
    """The note for the first `size` bytes."""
    checksum = 0
    with open(path, "rb") as file:
        for start in range(0, size, _PIECE):
            checksum = crc32(file.read(min(_PIECE, size - start)), checksum)
    value = b"%08x" % checksum
    pair = bytes((0x0A, len(SEAL))) + SEAL + bytes((0x12, len(value))) + value
    return bytes(((_NOTE << 3) | BYTES, len(pair))) + pair


def _seal_holds(path: Path) -> bool:
    data_size = path.stat().st_size - len(_seal_of(path, 0))
    with open(path, "rb") as file:
        return _bytes_at(file, data_size, _PIECE) == _seal_of(path, data_size)


def _bytes_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _note(source: Source, note: Field) -> tuple[str, str]:
    """(key, value) of a note."""
    fields = read_fields(source, note.start, note.start + note.size, MOST_FIELDS)
    texts = {field.number: bytes(source(field.start, field.size)) for field in fields}
    return texts.get(1, b"").decode(), texts.get(2, b"").decode()
