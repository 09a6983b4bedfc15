"""What messages say: of mistyped names, and whatever a path or a key has in it."""

import pytest

from mindcv_hrnet.errors import UserError, closest_name, nearest

KEYS = ["batch_size", "epoch_size"]


@pytest.mark.parametrize(
    ("name", "cutoff", "found"),
    [("epoch_sise", 0.6, KEYS[1]), ("EPOCH_SIZE", 1.0, KEYS[1]), ("zzz", 0.6, ""), ("bats", 0.0, KEYS[0])],
)
def test_closest_name(name, cutoff, found):
    assert closest_name(name, KEYS, cutoff) == found


def test_the_hint_gives_the_name_as_it_is_written():
    assert nearest("biliner", ["Bilinear"]) == " (nearest: 'Bilinear')"
    assert nearest("zzz", KEYS) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 蜂 🐝 a b", "größe 蜂 🐝 a b"),
        ("a\nb\rc\td\0\x1b[31m", r"a\nb\rc\td\x00\x1b[31m"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\udc80\ud800", r"\udc80\ud800"),
        ("x" * 1_000_000, "x" * 1500 + " ... " + "x" * 400),
    ],
    ids=["letters", "controls", "separators", "surrogates", "long"],
)
def test_a_message_is_one_line_that_can_be_printed(text, shown):
    assert str(UserError(text)) == shown
    shown.encode()
