"""What a rank tells of itself, step by step."""

from types import SimpleNamespace

import pytest
from step_contexts import step_context

from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.whereabouts import Whereabouts


@pytest.mark.parametrize("validates", [False, True])
def test_only_a_rank_that_compiles_may_be_silent_for_long(validates):
    told = []
    whereabouts = Whereabouts(RunShape(2, 2, 8), SimpleNamespace(tell=told.append), validates=validates)
    for step in (1, 2, 3):
        whereabouts.on_train_step_begin(step_context(step))
        whereabouts.on_train_step_end(step_context(step))
    assert [(place.step, place.inside, place.patient) for place in told] == [
        (0, False, True),  # in front of the first step, and in it
        (0, True, True),
        (1, False, False),
        (1, True, False),
        (2, False, validates),  # an epoch has ended
        (2, True, False),
        (3, False, False),
    ]
