"""Runs too long for a table of learning rates are refused before it is made."""

import pytest

from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.errors import RunError


def test_the_longest_run():
    RunShape(epochs=100_000, steps_per_epoch=1000, global_batch_size=1).check_length()
    with pytest.raises(RunError, match=r"^epoch_size 100000 x 1001 steps are more than 100000000; lower epoch_size$"):
        RunShape(epochs=100_000, steps_per_epoch=1001, global_batch_size=1).check_length()
