"""The moving average, by itself."""

import numpy as np
import pytest

from mindcv_hrnet.engine.ema import MovingAverage


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_a_second_network_follows_every_parameter(pynative, tiny_spec, mode):
    import mindspore as ms

    from mindcv_hrnet.models import HRNet

    network = HRNet(tiny_spec, 3)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    ema = MovingAverage(network, 0.5)
    start = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    for parameter in network.get_parameters():
        parameter.set_data(parameter + 1)
    ema(True)
    share = 1 - 0.5 * (1 - np.exp(-1 / 2000))
    for name, average in ema.weights().items():
        np.testing.assert_allclose(average.asnumpy(), start[name] + share, atol=1e-5)
        assert average.name == f"ema.{name}" and not average.requires_grad
    assert len(ema.weights()) == len(start) and len(ema.parameters_dict()) == len(start) + 1
    # what is validated computes with the averages, and training the network does not move them
    images = ms.Tensor(np.ones((1, 3, 32, 32), np.float32))
    after = ema.network.set_train(False)(images).asnumpy()
    for parameter in network.get_parameters():
        parameter.set_data(parameter * 0)
    np.testing.assert_array_equal(ema.network(images).asnumpy(), after)


def test_a_network_that_computes_again_is_followed_too(pynative, tiny_spec):
    """Its copy has the weights, and computes forward only."""
    from mindcv_hrnet.models import HRNet, recompute

    network = HRNet(tiny_spec, 3)
    recompute(network)
    again = [cell for _, cell in network.cells_and_names() if cell._recompute_cell is not None]
    ema = MovingAverage(network, 0.5)
    assert again and all(cell._recompute_cell is None for _, cell in ema.network.cells_and_names())
    assert all(cell._recompute_cell is not None for cell in again)
    for name, average in ema.weights().items():
        np.testing.assert_array_equal(average.asnumpy(), network.parameters_dict()[name].asnumpy())
