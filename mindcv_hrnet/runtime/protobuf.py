"""Protocol Buffers' wire format, as far as it takes to tell the fields of a message apart; no schema, no library.

A field is a key, its number and wire type in one variable-length integer, and what that type says
(protobuf.dev/programming-guides/encoding). The bytes may come from anywhere: nothing is trusted.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10

Source = Callable[[int, int], "bytes | memoryview"]
"""(start, size) -> so many bytes from there, or fewer at the end."""


class NoMessage(ValueError):
    """The bytes are no message."""


class EndsEarly(ValueError):
    """The bytes are the beginning of a message."""


class Field(NamedTuple):
    """`value`: an integer; None where the field is `size` bytes from `start` on."""

    number: int
    value: int | None
    start: int
    size: int


def read_fields(source: Source, start: int, end: int, most: int) -> Iterator[Field]:
    """The fields of the message between two places of the source; what they hold is passed over.

    Raises NoMessage, EndsEarly, and ValueError for more than `most` fields.
    """
    position = start
    for _ in range(most):
        if position >= end:
            return
        key, position = _varint_at(source, position, end)
        number, wire_type = key >> 3, key & 7
        if not number:
            raise NoMessage
        if wire_type == VARINT:
            value, position = _varint_at(source, position, end)
            yield Field(number, value, position, 0)
            continue
        if wire_type == BYTES:
            size, position = _varint_at(source, position, end)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise NoMessage
        if position + size > end:
            raise EndsEarly
        yield Field(number, None, position, size)
        position += size
    if position < end:
        raise ValueError(f"it has more than {most} parts where it needs a few")


def read_varint(data: bytes | memoryview) -> tuple[int, int]:
    """(number at the start of `data`, its bytes): seven bits a byte, the lowest first. Raises NoMessage, EndsEarly."""
    value = 0
    for place, byte in enumerate(data[:LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, place + 1
    raise EndsEarly if len(data) < LONGEST_VARINT else NoMessage


def _varint_at(source: Source, position: int, end: int) -> tuple[int, int]:
    """(number, position behind it)."""
    value, size = read_varint(source(position, min(LONGEST_VARINT, end - position)))
    return value, position + size
