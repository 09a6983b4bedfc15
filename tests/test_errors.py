"""What messages say of mistyped names, and the exit codes of errors that users can mend."""

import pytest

from mindcv_hrnet import errors
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


def test_exit_codes():
    codes = {"UserError": 2, "ConfigError": 2, "DataError": 3, "CheckpointError": 4, "RunError": 5}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes
