"""Gradients in flat tensors and back, by themselves; what ranks make of them is in integration/test_ranks.py."""

import numpy as np
import pytest

from mindcv_hrnet.engine import reduction
from mindcv_hrnet.engine.reduction import Buckets, Reduction, bucket_bounds
from mindcv_hrnet.runtime.distributed import Cluster

pytestmark = pytest.mark.usefixtures("pynative")

SHAPES = [(2, 3, 1, 1), (4,), (5, 2), (), (1,), (7,)]


def tensors():
    import mindspore as ms

    draw = np.random.default_rng(0)
    return tuple(ms.Tensor(draw.standard_normal(shape), ms.float32) for shape in SHAPES)


def test_buckets_end_where_they_are_full(monkeypatch):
    monkeypatch.setattr(reduction, "BUCKET_BYTES", 40)
    monkeypatch.setattr(reduction, "BUCKET_TENSORS", 3)
    assert bucket_bounds([6, 4, 10, 1, 1, 7, 1]) == ((0, 2), (2, 3), (3, 6), (6, 7))
    assert bucket_bounds([99]) == ((0, 1),)


def round_trip(parameters, whole=False):
    from mindspore import nn

    class RoundTrip(nn.Cell):
        def __init__(self):
            super().__init__(auto_prefix=False)
            self.buckets = Buckets(parameters, whole)

        def construct(self, values):
            packed = self.buckets.pack(values)
            return packed, self.buckets.unpack(packed)

    return RoundTrip()


@pytest.mark.parametrize(("whole", "sizes"), [(False, [10, 10, 9]), (True, [29])])
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_what_is_packed_comes_back(mode, whole, sizes, monkeypatch):
    import mindspore as ms

    monkeypatch.setattr(reduction, "BUCKET_BYTES", 40)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    parameters = [ms.Parameter(value, name=str(i)) for i, value in enumerate(tensors())]
    packed, values = round_trip(parameters, whole)(ms.mutable(tensors()))
    assert [bucket.shape for bucket in packed] == [(size,) for size in sizes]
    np.testing.assert_array_equal(
        np.concatenate([b.asnumpy() for b in packed]), np.concatenate([value.asnumpy().ravel() for value in tensors()])
    )
    for value, expected in zip(values, tensors(), strict=True):
        assert value.shape == expected.shape
        np.testing.assert_array_equal(value.asnumpy(), expected.asnumpy())


def test_many_buckets_need_no_deep_graph(monkeypatch):
    """The largest network has some seventy; a graph may be a thousand calls deep."""
    import mindspore as ms

    monkeypatch.setattr(reduction, "BUCKET_TENSORS", 1)
    ms.set_context(mode=ms.GRAPH_MODE)
    parameters = [ms.Parameter(ms.Tensor([float(i)], ms.float32), name=str(i)) for i in range(70)]
    ms.set_recursion_limit(100)
    try:
        packed, values = round_trip(parameters)(ms.mutable(tuple(ms.Tensor([float(i)]) for i in range(70))))
    finally:
        ms.set_recursion_limit(1000)
    assert len(packed) == 70 and [float(value) for value in values] == list(range(70))


@pytest.mark.parametrize(("divides", "divisor", "factor"), [(True, 8.0, 0.125), (False, 1.0, 1.0)])
def test_one_rank_divides_where_there_is_a_divisor(divides, divisor, factor):
    import mindspore as ms

    reduced = Reduction((), Cluster(), divides)(tensors(), ms.Tensor(divisor, ms.float32))
    for value, gradient in zip(reduced, tensors(), strict=True):
        np.testing.assert_array_equal(value.asnumpy(), factor * gradient.asnumpy())
