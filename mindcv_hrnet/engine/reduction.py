"""Gradients in a few flat tensors: summed over the ranks, unscaled, checked, clipped, and taken apart again."""

from collections.abc import Sequence
from itertools import accumulate

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindcv_hrnet.engine.mpi_sum import scaled_sum_over_mpi
from mindcv_hrnet.runtime.distributed import Cluster

BUCKET_BYTES = 8 * 2**20
# Ascend's concatenation takes no more at once
BUCKET_TENSORS = 63

_flatten, _join, _take = (ops.MultitypeFuncGraph(name) for name in ("flatten", "join", "take"))
_add_up, _multiply = ops.MultitypeFuncGraph("add_up"), ops.MultitypeFuncGraph("multiply")
_concat, _slice = ops.Concat(), ops.Slice()


@_flatten.register("Tensor")
def _flatten_one(tensor: Tensor) -> Tensor:
    return ops.reshape(tensor, (-1,))


@_join.register("Tuple", "Number", "Number")
def _join_one(flat: tuple[Tensor, ...], start: int, end: int) -> Tensor:
    return _concat(flat[start:end])


@_take.register("Tuple", "Number", "Number", "Tensor")
def _take_one(buckets: tuple[Tensor, ...], bucket: int, start: int, like: Parameter) -> Tensor:
    return ops.reshape(_slice(buckets[bucket], (start,), (like.size,)), like.shape)


@_add_up.register("Function", "Tensor")
def _add_up_one(over_ranks: ops.Primitive, gradient: Tensor) -> Tensor:
    return over_ranks(gradient)


@_multiply.register("Tensor", "Tensor")
def _multiply_one(factor: Tensor, gradient: Tensor) -> Tensor:
    return gradient * factor


class Buckets(nn.Cell):
    """Tensors shaped like `parameters` <-> flat tensors of about BUCKET_BYTES, in the same order.

    A thousand small operations, or messages between ranks, become some twenty large ones. All is mapped, nothing loops:
    an unrolled loop would make the graph deeper with every round. `whole`: one tensor holds them all.
    """

    def __init__(self, parameters: Sequence[Parameter], whole: bool = False) -> None:
        super().__init__(auto_prefix=False)
        bounds = ((0, len(parameters)),) if whole else bucket_bounds([parameter.size for parameter in parameters])
        self.firsts, self.ends = tuple(first for first, _ in bounds), tuple(end for _, end in bounds)
        self.parameters = ParameterTuple(parameters)
        places = [(i, start) for i, (first, end) in enumerate(bounds) for start in _starts(parameters[first:end])]
        self.bucket_of, self.starts = tuple(bucket for bucket, _ in places), tuple(start for _, start in places)
        self.map_ = ops.HyperMap()

    def pack(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One tensor for each parameter -> buckets."""
        flat = self.map_(_flatten, tensors)
        return self.map_(ops.partial(_join, flat), self.firsts, self.ends)

    def unpack(self, buckets: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Buckets -> one tensor for each parameter."""
        return self.map_(ops.partial(_take, buckets), self.bucket_of, self.starts, self.parameters)


def bucket_bounds(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(first, after the last) of each bucket, for float32 tensors of so many elements; a larger one has its own."""
    bounds, start, filled = [], 0, 0
    for i, size in enumerate(sizes):
        if i > start and (filled + 4 * size > BUCKET_BYTES or i - start == BUCKET_TENSORS):
            bounds.append((start, i))
            start, filled = i, 0
        filled += 4 * size
    return (*bounds, (start, len(sizes)))


def _starts(group: Sequence[Parameter]) -> tuple[int, ...]:
    return tuple(accumulate((parameter.size for parameter in group[:-1]), initial=0))


class Reduction(nn.Cell):
    """(gradients of `parameters`, () divisor) -> their mean over the ranks, divided: one multiplication for both.

    Between several ranks and `unpack` it is in flat tensors, in a single one where MPI adds up.
    `divides`: whether the divisor can be anything but 1.
    """

    def __init__(self, parameters: Sequence[Parameter], cluster: Cluster, divides: bool) -> None:
        super().__init__(auto_prefix=False)
        self.size = cluster.size
        self.multiplies = divides or cluster.size > 1
        self.buckets = Buckets(parameters, whole=cluster.sums_over_mpi) if cluster.size > 1 else None
        self.over_mpi = scaled_sum_over_mpi() if cluster.sums_over_mpi else None
        self.over_ranks = ops.AllReduce() if cluster.size > 1 and not cluster.sums_over_mpi else None
        self.map_ = ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...], divisor: Tensor) -> tuple[Tensor, ...]:
        """Gradients, and what their sums are divided by besides the ranks -> what `unpack` takes."""
        factor = 1 / (divisor * self.size)
        if self.buckets is not None:
            gradients = self.buckets.pack(gradients)
        if self.over_mpi is not None:
            return (self.over_mpi(gradients[0], factor),)
        if self.over_ranks is not None:
            gradients = self.map_(ops.partial(_add_up, self.over_ranks), gradients)
        if self.multiplies:
            gradients = self.map_(ops.partial(_multiply, factor), gradients)
        return gradients

    def unpack(self, reduced: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One tensor for each parameter."""
        return reduced if self.buckets is None else self.buckets.unpack(reduced)
