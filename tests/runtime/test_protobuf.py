"""The wire format, by the examples of its documentation, and what is none."""

import pytest

from mindcv_hrnet.runtime.protobuf import EndsEarly, NoMessage, read_fields, read_varint


def fields(hexadecimal, most=9):
    data = bytes.fromhex(hexadecimal)
    found = read_fields(lambda start, size: data[start : start + size], 0, len(data), most)
    return [(number, data[start : start + size] if value is None else value) for number, value, start, size in found]


def test_fields_of_every_kind():
    assert fields("08 96 01") == [(1, 150)]
    assert fields("12 07 74 65 73 74 69 6e 67") == [(2, b"testing")]
    assert fields("1a 00 21 01 02 03 04 05 06 07 08 2d 01 02 03 04") == [
        (3, b""),
        (4, bytes(range(1, 9))),
        (5, bytes(range(1, 5))),
    ]
    assert fields("") == []


@pytest.mark.parametrize(
    ("hexadecimal", "error"),
    [
        ("08 96", EndsEarly),
        ("12 07 74", EndsEarly),
        ("21 01 02", EndsEarly),
        ("12 ff ff ff ff ff ff ff ff ff 01", EndsEarly),  # longer than any file
        ("00 01", NoMessage),  # field 0
        ("0b", NoMessage),  # a group, which nobody writes any more
        ("08 ff ff ff ff ff ff ff ff ff ff 01", NoMessage),
    ],
)
def test_what_is_no_message(hexadecimal, error):
    with pytest.raises(error):
        fields(hexadecimal)


def test_more_fields_than_needed():
    assert len(fields("08 01" * 9)) == 9
    with pytest.raises(ValueError, match="more than 9 parts"):
        fields("08 01" * 10)


def test_a_number_and_its_length():
    assert read_varint(b"\xac\x02\x05") == (300, 2)


def test_a_message_inside_another_file():
    data = b"before\x08\x01after"
    (field,) = read_fields(lambda start, size: data[start : start + size], 6, 8, 9)
    assert (field.number, field.value) == (1, 1)
