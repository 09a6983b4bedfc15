"""What messages say of mistyped names."""

import pytest

from mindcv_hrnet.errors import closest_name, nearest

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
