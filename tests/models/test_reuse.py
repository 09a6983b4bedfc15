"""Layers that are compiled once for all of their kind compute what each compiled by itself computes."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from mindcv_hrnet.models import recompute, set_precision, synchronise
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, Reused, shape_of_graph


class Twins(nn.Cell):
    """Six layers of two shapes, which must not be confused."""

    def __init__(self):
        super().__init__()
        self.rows = nn.CellList([nn.SequentialCell(Conv2d(3, 3), BatchNorm(3)) for _ in range(3)])
        for i, (convolve, normalise) in enumerate(self.rows):
            convolve.weight.set_data(Tensor(np.random.default_rng(i).standard_normal((3, 3, 3, 3)), ms.float32))
            normalise.gamma.set_data(Tensor([1.0 + i, 0.5, 2.0], ms.float32))

    def construct(self, x):
        for row in self.rows:
            x = row(x)
        return x


class Learns(nn.Cell):
    """One step of gradient descent; gives the loss."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        weights = ms.ParameterTuple(network.trainable_params())
        self.differentiate = ops.value_and_grad(self.loss, None, weights)
        self.update = nn.SGD(network.trainable_params(), 0.05)

    def loss(self, x):
        return (self.network(x).astype(ms.float32) ** 3).mean()

    def construct(self, x):
        loss, gradients = self.differentiate(x)
        return ops.depend(loss, self.update(gradients))


def freeze_one(network):
    network.rows[1][1].frozen = True


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda network: None,
        freeze_one,
        lambda network: synchronise(network, 1),
        lambda network: set_precision(network, "O1"),
    ],
    ids=["plain", "frozen", "synchronised", "O1"],
)
def test_the_steps_are_those_of_layers_compiled_one_by_one(change, monkeypatch):
    """Loss, weights and moving statistics, bit by bit."""
    ms.set_context(mode=ms.GRAPH_MODE)
    images = Tensor(np.random.default_rng(9).standard_normal((2, 3, 8, 8)), ms.float32)

    def trained():
        network = Twins()
        change(network)
        step = Learns(network).set_train()
        losses = [float(step(images)) for _ in range(2)]
        return losses, [parameter.asnumpy().tobytes() for parameter in network.get_parameters()]

    together = trained()
    monkeypatch.delattr(Reused, "cell_init_args")
    assert together == trained()
    assert together[0][0] != together[0][1]


def test_what_differs_is_compiled_by_itself(tiny_network):
    """Each change of a layer gives it another key; a layer of the same shape elsewhere has the same."""
    layers = [BatchNorm(3) for _ in range(6)]
    layers[1].set_train()
    layers[2].frozen = True
    layers[3].gamma.requires_grad = False
    layers[4].moves_later = True
    layers[5].recompute()
    assert len({str(shape_of_graph(layer)) for layer in layers}) == 6
    assert shape_of_graph(BatchNorm(3)) == shape_of_graph(layers[0])
    convolutions = [Conv2d(3, 4), Conv2d(3, 4, kernel=1), Conv2d(3, 4, stride=2), set_precision(Conv2d(3, 4), "O1")]
    assert len({str(shape_of_graph(layer)) for layer in convolutions}) == 4
    assert Conv2d(3, 4).cell_init_args == convolutions[0].cell_init_args != layers[0].cell_init_args


def test_no_such_layer_holds_another(tiny_network):
    """Else MindSpore computes with the wrong parameters."""
    network = tiny_network()
    synchronise(network, 2)
    recompute(network)
    set_precision(network, "O2")
    layers = [cell for _, cell in network.cells_and_names() if isinstance(cell, Reused)]
    inner = [cell for layer in layers for _, cell in layer.cells_and_names() if cell is not layer]
    assert len(layers) > 50 and not [cell for cell in inner if hasattr(cell, "cell_init_args")]
