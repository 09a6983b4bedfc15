"""Micro-batching: what is computed together, what waits how long, and what becomes of failures."""

import asyncio
import threading
import time

import numpy as np
import pytest

from mindcv_hrnet.serving.batching import MicroBatcher


class Recorder:
    """Doubles its input, notes the batches, and waits for `gate` before each."""

    def __init__(self):
        self.sizes, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, images):
        self.sizes.append(len(images))
        assert self.gate.wait(10)
        return 2 * images.reshape(len(images), -1)[:, :2]


def images(*values):
    return np.stack([np.full((1, 2, 2), value, np.float32) for value in values])


def run(work, max_batch=4, max_wait_s=0.05, **settings):
    async def inside():
        batcher = MicroBatcher(max_batch, max_wait_s, **settings)
        batcher.start()
        try:
            return await asyncio.wait_for(work(batcher), 10)
        finally:
            await batcher.close()

    return asyncio.run(inside())


def test_each_gets_its_own_answer_from_few_batches():
    compute, noted = Recorder(), []

    async def work(batcher):
        return await asyncio.gather(*(batcher(compute, images(*range(k, k + 1 + k % 2))) for k in range(7)))

    answers = run(work, on_batch=lambda *values: noted.append(values))
    for k, answer in enumerate(answers):
        assert answer.tolist() == [[2 * value] * 2 for value in range(k, k + 1 + k % 2)]
    # 1 2 1 | 2 1 | 2 1: a request is not torn apart
    assert compute.sizes == [4, 3, 3]
    assert [count for count, _, _ in noted] == compute.sizes
    assert all(waited >= 0 and computed >= 0 for _, waited, computed in noted)


def test_one_alone_waits_no_longer_than_it_must():
    compute = Recorder()

    async def work(batcher):
        began = time.monotonic()
        await batcher(compute, images(1))
        return time.monotonic() - began

    assert 0.05 <= run(work) < 1
    assert run(work, max_wait_s=0) < 1


def test_a_full_batch_does_not_wait():
    compute = Recorder()

    async def work(batcher):
        await asyncio.gather(*(batcher(compute, images(k)) for k in range(4)))

    began = time.monotonic()
    run(work, max_wait_s=9)
    assert compute.sizes == [4] and time.monotonic() - began < 5


def test_the_next_batch_grows_while_the_executor_works():
    compute = Recorder()
    compute.gate.clear()

    async def work(batcher):
        first = asyncio.create_task(batcher(compute, images(0)))
        while not compute.sizes:
            await asyncio.sleep(0.01)
        assert batcher.computing_since is not None
        rest = [asyncio.create_task(batcher(compute, images(k))) for k in range(1, 4)]
        await asyncio.sleep(0.1)
        compute.gate.set()
        await asyncio.gather(first, *rest)
        assert batcher.computing_since is None

    run(work, max_wait_s=0.01)
    assert compute.sizes == [1, 3]


def test_executors_compute_at_the_same_time():
    compute = Recorder()
    compute.gate.clear()

    async def work(batcher):
        asked = []
        for count in (1, 2):
            asked.append(asyncio.create_task(batcher(compute, images(count))))
            while len(compute.sizes) < count:
                await asyncio.sleep(0.01)
        # both are at work: the third and the fourth wait and go together
        asked += [asyncio.create_task(batcher(compute, images(k))) for k in (3, 4)]
        began = batcher.computing_since
        await asyncio.sleep(0.1)
        assert compute.sizes == [1, 1] and batcher.computing_since == began
        compute.gate.set()
        return [answer.tolist() for answer in await asyncio.gather(*asked)]

    assert run(work, max_wait_s=0.01, executors=2) == [[[2 * k] * 2] for k in (1, 2, 3, 4)]
    assert compute.sizes == [1, 1, 2]


def test_models_and_types_are_not_mixed():
    one, other = Recorder(), Recorder()

    async def work(batcher):
        await asyncio.gather(
            batcher(one, images(1)),
            batcher(one, images(2)),
            batcher(other, images(3)),
            batcher(other, images(4).astype(np.uint8)),
            batcher(other, np.zeros((1, 1, 3, 3), np.uint8)),
        )

    run(work)
    assert (one.sizes, other.sizes) == ([2], [1, 1, 1])


def test_a_failure_reaches_its_batch_alone():
    fail, compute = Recorder(), Recorder()
    fail.gate = None  # not callable: AttributeError

    async def work(batcher):
        return await asyncio.gather(
            batcher(fail, images(1)), batcher(fail, images(2)), batcher(compute, images(3)), return_exceptions=True
        )

    first, second, third = run(work)
    assert isinstance(first, AttributeError) and isinstance(second, AttributeError)
    assert third.tolist() == [[6, 6]]


def test_who_gave_up_is_not_computed():
    compute = Recorder()
    compute.gate.clear()

    async def work(batcher):
        first = asyncio.create_task(batcher(compute, images(0)))
        while not compute.sizes:
            await asyncio.sleep(0.01)
        late = [asyncio.create_task(batcher(compute, images(k))) for k in (1, 2)]
        await asyncio.sleep(0.02)
        late[0].cancel()
        first.cancel()  # while it is computed: its answer is dropped
        compute.gate.set()
        return await late[1]

    assert run(work).tolist() == [[4, 4]]
    assert compute.sizes == [1, 1]


def test_places_are_given_back():
    from mindcv_hrnet.serving.limits import Places, Refused

    places = Places(3, "images")
    with places.take(2), pytest.raises(Refused) as refused, places.take(2):
        pass
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    assert refused.value.reason == "2 of 3 images are in hand already; try again in a moment"
    with pytest.raises(KeyError), places.take(3):
        raise KeyError
    assert places.taken == 0
