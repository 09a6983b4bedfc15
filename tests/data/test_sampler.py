import time

import numpy as np
import pytest

from mindcv_hrnet.data.sampler import EvalSampler, TrainSampler
from mindcv_hrnet.errors import DataError


def test_an_epoch_is_a_permutation_and_every_epoch_another():
    sampler = TrainSampler(length=20, batch_size=5, seed=1)
    first, second = sampler.order(0), sampler.order(1)
    assert sorted(first) == sorted(second) == list(range(20))
    assert (first != second).any() and (first == TrainSampler(length=20, batch_size=5, seed=1).order(0)).all()
    assert (first != TrainSampler(length=20, batch_size=5, seed=2).order(0)).any()


def test_without_shuffle_the_order_is_the_folders():
    assert list(TrainSampler(length=6, batch_size=2, seed=1, shuffle=False).order(3)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("drop_remainder", [True, False])
def test_ranks_share_a_step_whatever_their_number(repeats, drop_remainder):
    def step_sets(size):
        samplers = [
            TrainSampler(50, 16 // size, 3, rank, size, drop_remainder=drop_remainder, repeats=repeats)
            for rank in range(size)
        ]
        orders = [sampler.order(5) for sampler in samplers]
        steps = samplers[0].steps_per_epoch
        return [
            sorted(np.concatenate([s.batch(o, step) for s, o in zip(samplers, orders, strict=True)]))
            for step in range(steps)
        ]

    one = step_sets(1)
    assert len(one) == (3 if drop_remainder else 4) and all(len(step) == 16 for step in one)
    assert all(step_sets(size) == one for size in (2, 4, 8, 16))


def test_the_last_batch_is_filled_from_the_start():
    sampler = TrainSampler(length=7, batch_size=4, seed=0, drop_remainder=False)
    order = sampler.order(0)
    assert sampler.steps_per_epoch == 2
    assert sorted(order[:7]) == list(range(7)) and order[7] == order[0]
    # also where the whole set is smaller than a batch
    assert sorted(TrainSampler(length=3, batch_size=7, seed=0, drop_remainder=False).order(0)[:3]) == [0, 1, 2]


def test_num_samples_shortens_the_epoch():
    sampler = TrainSampler(length=100, batch_size=5, seed=0, num_samples=20)
    assert sampler.steps_per_epoch == 4
    assert len(set(sampler.order(0))) == 20 and set(sampler.order(0)) != set(sampler.order(1))


def test_repeats_come_in_a_row_on_different_ranks():
    order = TrainSampler(length=8, batch_size=4, seed=0, repeats=3).order(0)
    assert len(order) == 8
    assert list(order[:3] % 8) == [order[0]] * 3 and list(order[:3] // 8) == [0, 1, 2]


def test_too_few_samples_for_a_batch():
    with pytest.raises(
        DataError, match=r"7 training samples do not fill one global batch of 16 .*drop_remainder False"
    ):
        TrainSampler(length=7, batch_size=8, seed=0, size=2)


def test_more_num_samples_than_samples():
    with pytest.raises(DataError, match="num_samples 8 is more than the 7"):
        TrainSampler(length=7, batch_size=2, seed=0, num_samples=8)


def test_imagenets_order_is_there_at_once():
    start = time.perf_counter()
    sampler = TrainSampler(length=1_281_167, batch_size=128, seed=0, size=8)
    assert sampler.steps_per_epoch == 1251
    sampler.batch(sampler.order(299), 1250)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("length, batch_size, size", [(10, 4, 1), (10, 4, 2), (17, 1, 1), (17, 5, 4), (3, 64, 8)])
def test_evaluation_sees_every_sample_once(length, batch_size, size):
    seen = []
    for rank in range(size):
        sampler = EvalSampler(length, batch_size, rank, size)
        assert sampler.steps == EvalSampler(length, batch_size, 0, size).steps
        for step in range(sampler.steps):
            samples, valid = sampler.batch(step)
            assert samples.shape == valid.shape == (batch_size,)
            seen.extend(samples[valid])
    assert sorted(seen) == list(range(length))
