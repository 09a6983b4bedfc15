"""Images in MindRecord files, as MindSpore's FileWriter makes them: `x.mindrecord` with its index `x.mindrecord.db`.

MindSpore reads them in sequence or by category, one row in 0.7 ms of CPU time. Its own layout gives any image in
0.01 ms, to any number of threads: a header (8 bytes of length, JSON), then pages of one size, and an SQLite table that
tells page and offset of every row. In a page a row is 8 bytes of length, little endian, then its blob fields in the
header's order; where there are several, each has 8 bytes of its own length before it, big endian.
"""

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mindcv_hrnet.data.sources.shards import Format, Member, files_in
from mindcv_hrnet.errors import DataError

IMAGE_FIELDS = ("image", "data")
LABEL_FIELD = "label"
# FileWriter numbers the files where it writes several
_SHARD = re.compile(r".+\.mindrecord\d*")
_LENGTH = 8
_LONGEST_HEADER = 1 << 27  # FileWriter.set_header_size accepts no more


class _Layout(NamedTuple):
    """Where rows are.

    used: bytes in each page of rows, by number. before: how many blob fields stand before the image; None where the
    image is the only one.
    """

    header_size: int
    page_size: int
    used: dict[int, int]
    before: int | None


def record_files(root: str) -> list[str]:
    """`*.mindrecord` and `*.mindrecord<number>`, in the order of the names without the suffix."""
    found = files_in(root, lambda name: _SHARD.fullmatch(name) is not None)
    return sorted(found, key=lambda path: path.rpartition(".mindrecord")[::2])


def record_members(path: str) -> Iterator[Member]:
    """The images of a MindRecord file with their labels, in the order in which they were written."""
    if not os.path.exists(f"{path}.db"):
        raise DataError(f"{path}.db: no such file; a MindRecord file needs the index that was written beside it")
    try:
        with open(path, "rb") as file:
            layout = _layout(path, file)
            size = os.fstat(file.fileno()).st_size
            rows = _rows(path)
            ends: dict[int, int] = {}
            for _, page, _, end, _ in rows:
                ends[page] = max(end, ends.get(page, 0))
            if ends != layout.used:
                raise DataError(
                    f"{path}.db: is the index of another file, or not a whole one; copy or write both again"
                )
            for row, page, start, end, label in rows:
                if not isinstance(label, int):
                    raise DataError(f"{path}: row {row} has the label '{label}'; labels are whole numbers")
                base = layout.header_size + page * layout.page_size
                if base + end > size:
                    raise DataError(f"{path}: ends {base + end - size} bytes early; copy or write it again")
                offset, length = base + start + _LENGTH, end - start - _LENGTH
                if layout.before is not None:
                    offset, length = _field(file, offset, layout.before)
                yield Member(offset, length, f"row {row}", label)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the disk and its permissions") from None


def _layout(path: str, file: BinaryIO) -> _Layout:
    try:
        header = json.loads(file.read(min(int.from_bytes(file.read(_LENGTH), "little"), _LONGEST_HEADER)))
        (schema,) = header["schema"]
        fields, blobs = schema["schema"], schema["blob_fields"]
        sizes = int(header["header_size"]), int(header["page_size"])
        pages = {page["page_id"]: page["page_size"] for page in header["page"] if page["page_type"] == "BLOB_DATA"}
        used = {page: size for page, size in pages.items() if size}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: not a MindRecord file, or an encrypted one; write it with FileWriter") from None
    there = ", ".join(sorted(fields))
    image = next((name for name in IMAGE_FIELDS if fields.get(name) == {"type": "bytes"}), None)
    if image is None:
        raise DataError(f"{path}: no field 'image' or 'data' of type bytes; it has {there}")
    if fields.get(LABEL_FIELD) not in ({"type": "int32"}, {"type": "int64"}):
        raise DataError(f"{path}: no field '{LABEL_FIELD}' of type int32 or int64; it has {there}")
    return _Layout(*sizes, used, blobs.index(image) if len(blobs) > 1 else None)


def _rows(path: str) -> list[tuple[int, int, int, int, int]]:
    """(row, page, start, end, label) of every row; start and end count from the page's begin."""
    where = Path(f"{path}.db").absolute().as_uri() + "?immutable=1"  # no locks: the data set may be read-only
    columns = f"ROW_ID, PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END, {LABEL_FIELD}_0"
    try:
        with closing(sqlite3.connect(where, uri=True)) as index:
            return index.execute(f"SELECT {columns} FROM INDEXES ORDER BY ROW_ID").fetchall()
    except sqlite3.Error as error:
        if f"no such column: {LABEL_FIELD}_0" in str(error):
            raise DataError(
                f"{path}.db: '{LABEL_FIELD}' is not indexed; write the file with add_index(['{LABEL_FIELD}']) or none"
            ) from None
        raise DataError(f"{path}.db: cannot be read ({error}); copy or write both files again") from None


def _field(file: BinaryIO, offset: int, before: int) -> tuple[int, int]:
    """(offset, length) of a blob field that stands behind `before` others."""
    for _ in range(before + 1):
        file.seek(offset)
        length = int.from_bytes(file.read(_LENGTH), "big")
        offset += _LENGTH + length
    return offset - length, length


MINDRECORD = Format("MindRecord", record_files, record_members, companions=(".db",), numbers_are_names=True)
