"""Sums over CPU ranks that mpirun has started: through MPI, in memory that the ranks of a host share."""

from __future__ import annotations

import importlib

import numpy as np
from mindspore import ops
from mindspore.ops.operations._pyfunc_registry import add_pyfunc

# A graph names the Python function it calls by a number. One that stays the same serves a later start, too
FUNCTION = 0x4D5049
# Numbers that are added up and multiplied while a core's cache holds them: half a megabyte
PIECE = 2**17

# MindSpore copies a result: memory that is used again saves the system's work on new pages
_sums: dict[int, np.ndarray] = {}


def scaled_sum_over_mpi() -> ops.Custom:
    """An operation: (N,) float32, () float32 factor -> (N,) sum over the ranks times factor, the same bits on each.

    MindSpore's AllReduce on a CPU sends everything over TCP, at some 0.25 GB/s between two ranks of one host; MPI takes
    a tenth of that time. Unlike AllReduce it has no place in MindSpore's order of messages: of several in one graph,
    each must need the sum of the one before.
    """
    operation = ops.Custom(_scaled_sum, lambda flat, _: flat, lambda flat, _: flat, "pyfunc")
    add_pyfunc(FUNCTION, _scaled_sum)
    return operation.add_prim_attr("fn_id", FUNCTION)


def _scaled_sum(own: np.ndarray, factor: np.ndarray) -> np.ndarray:
    world = importlib.import_module("mpi4py.MPI").COMM_WORLD
    if own.size not in _sums:
        _sums[own.size] = np.empty_like(own)
    sums = _sums[own.size]
    for start in range(0, own.size, PIECE):
        piece = sums[start : start + PIECE]
        world.Allreduce(own[start : start + PIECE], piece)
        piece *= factor
    return sums
