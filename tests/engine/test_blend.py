"""A share of what a computation changes."""

import numpy as np
import pytest

from mindcv_hrnet.engine.blend import Blend


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_a_share_of_the_change_stays(pynative, mode):
    import mindspore as ms
    from mindspore import nn, ops

    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)

    class Doubled(nn.Cell):
        def __init__(self, parameters):
            super().__init__(auto_prefix=False)
            self.parameters = ms.ParameterTuple(parameters)
            self.blend = Blend(parameters, [0.0, 0.25, 1.0])

        def construct(self):
            before = self.blend.before()
            for parameter in self.parameters:
                ops.assign(parameter, parameter * 2)
            return self.blend(before)

    parameters = [ms.Parameter(ms.Tensor([4.0, -8.0], ms.float32), name=name) for name in "abc"]
    Doubled(parameters)()
    np.testing.assert_array_equal([p.asnumpy() for p in parameters], [[4, -8], [5, -10], [8, -16]])
