"""Mixed precision: what each level computes in, that each of them trains, and that nothing is left in the way."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.amp_names import AMP_LEVELS
from mindcv_hrnet.models.hrnet import HRNet
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, ConvNorm, Dense, GlobalMean
from mindcv_hrnet.models.precision import set_precision


class Small(nn.Cell):
    """One of each layer that has a precision; small enough to compile at every level."""

    def __init__(self):
        super().__init__()
        self.features = ConvNorm(3, 4, stride=2, relu=True)
        self.pool = GlobalMean()
        self.classifier = Dense(4, 5)

    def construct(self, x):
        return self.classifier(self.pool(self.features(x)))


class Gradients(nn.Cell):
    """Mean of the squared logits, and its gradients."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.differentiate = ops.value_and_grad(self.loss, None, self.weights)

    def loss(self, x):
        return (self.network(x) ** 2).mean()

    def construct(self, x):
        return self.differentiate(x)


@pytest.mark.slow
@pytest.mark.parametrize("level", AMP_LEVELS)
def test_the_network_trains_at_every_level(tiny_spec, images, level):
    x = images(4, 3, 64, 64)
    network = HRNet(tiny_spec, num_classes=5)
    reference, exact = Gradients(network).set_train()(x)
    set_precision(network, level)
    loss, gradients = Gradients(network).set_train()(x)
    assert loss.dtype == ms.float32
    np.testing.assert_allclose(float(loss), float(reference), rtol=0.02)
    assert {g.dtype for g in gradients} == {ms.float32}
    assert {p.dtype for p in network.get_parameters()} == {ms.float32}
    flat, exact_flat = (np.concatenate([g.asnumpy().ravel() for g in gs]) for gs in (gradients, exact))
    cosine = flat @ exact_flat / np.linalg.norm(flat) / np.linalg.norm(exact_flat)
    assert cosine > (0.999999 if level == "O0" else 0.98)
    assert network.set_train(False)(x).dtype == ms.float32


@pytest.mark.parametrize("level", AMP_LEVELS)
def test_graph_mode_trains_at_every_level(images, level):
    x = images(4, 3, 16, 16)
    network = set_precision(Small(), level)
    if level in ("O2", "O3"):
        x = x.astype(ms.float16)
    start = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    loss, gradients = Gradients(network).set_train()(x)
    moved = network.features.cell_list[1].moving_mean.asnumpy().copy()
    for p in network.get_parameters():
        p.set_data(ms.Tensor(start[p.name]))

    ms.set_context(mode=ms.GRAPH_MODE)
    graph_loss, graph_gradients = Gradients(network).set_train()(x)
    np.testing.assert_allclose(float(graph_loss), float(loss), rtol=5e-3)
    for a, b in zip(graph_gradients, gradients, strict=True):
        assert a.dtype == ms.float32
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), atol=0.02 * np.abs(b.asnumpy()).max() + 1e-4)
    assert moved.any()
    np.testing.assert_allclose(network.features.cell_list[1].moving_mean.asnumpy(), moved, atol=1e-4)


@pytest.mark.slow
def test_graph_mode_runs_the_network_at_o2(tiny_spec, images):
    x = images(2, 3, 32, 32)
    network = set_precision(HRNet(tiny_spec, num_classes=5), "O2").set_train(False)
    expected = network(x).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    logits = network(x)
    assert logits.dtype == ms.float32
    np.testing.assert_allclose(logits.asnumpy(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("level", "product", "norm", "between"),
    [
        ("O0", ms.float32, ms.float32, ms.float32),
        ("O1", ms.float16, ms.float32, ms.float32),
        ("O2", ms.float16, ms.float32, ms.float16),
        ("O3", ms.float16, ms.float16, ms.float16),
        ("auto", ms.float16, ms.float32, ms.float16),
        # with a cast list
        ("O1-", ms.float32, ms.float32, ms.float32),
        ("O1-Conv2d-Dense", ms.float16, ms.float32, ms.float32),
        ("O2-", ms.float16, ms.float16, ms.float16),
        ("O2-Conv2d-Dense", ms.float32, ms.float16, ms.float16),
        ("O2-Conv2d-Dense-BatchNorm2d", ms.float32, ms.float32, ms.float16),
    ],
)
def test_what_each_level_computes_in(tiny_spec, images, monkeypatch, level, product, norm, between):
    """Seen from the inputs of the primitives and layers, not from how they are wired."""
    level, *listed = level.split("-")
    cast_list = [kind for kind in listed if kind] if listed else None
    network = set_precision(HRNet(tiny_spec, num_classes=5), level, cast_list=cast_list).set_train(False)
    products, norms, flowing = set(), set(), set()

    def spy(kind, seen):
        call = kind.__call__

        def watched(self, *inputs):
            seen.add(inputs[0].dtype)
            return call(self, *inputs)

        monkeypatch.setattr(kind, "__call__", watched)

    spy(ops.Conv2D, products)
    spy(ops.MatMul, products)
    spy(ops.BatchNorm, norms)
    for _, cell in network.cells_and_names():
        if isinstance(cell, (Conv2d, BatchNorm, Dense)):
            cell.register_forward_pre_hook(lambda _, inputs: flowing.add(inputs[0].dtype))
    network(images(2, 3, 32, 32))
    assert (products, norms, flowing) == ({product}, {norm}, {between})


def test_the_level_can_change_and_change_back(images):
    """Also for a network that has been compiled: MindSpore by itself would run the stale graph."""
    x = images(2, 3, 16, 16)
    network = Small().set_train(False)
    names = [p.name for p in network.get_parameters()]
    ms.set_context(mode=ms.GRAPH_MODE)
    exact = network(x).asnumpy()
    half = set_precision(network, "O1")(x).asnumpy()
    assert 0 < np.abs(half - exact).max() < 1e-2
    np.testing.assert_array_equal(set_precision(network, "O0")(x).asnumpy(), exact)
    assert [p.name for p in network.get_parameters()] == names


@pytest.mark.slow
def test_no_level_writes_files(tiny_spec, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for level in AMP_LEVELS:
        set_precision(HRNet(tiny_spec, num_classes=5), level).set_train(False)(images(1, 3, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused():
    with pytest.raises(UserError, match=r"unknown precision level 'O4'.* O0, O1, O2, O3"):
        set_precision(Small(), "O4")
    with pytest.raises(UserError, match="float16 or bfloat16"):
        set_precision(Small(), "O2", ms.float32)


@pytest.mark.skipif(ms.get_context("device_target") != "CPU", reason="other devices compute in bfloat16")
def test_bfloat16_on_cpu_is_refused_before_it_fails():
    for level in AMP_LEVELS[1:]:
        with pytest.raises(UserError, match="CPU kernels do not take bfloat16"):
            set_precision(Small(), level, ms.bfloat16)
    set_precision(Small(), "O0", ms.bfloat16)
