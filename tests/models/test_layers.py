"""Each layer alone: values against NumPy, dtypes, initial values."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from mindcv_hrnet.models.hrnet import BasicBlock, Bottleneck, Exchange
from mindcv_hrnet.models.layers import BatchNorm, CastTo, Conv2d, ConvNorm, Dense, GlobalMean, Upsample


def layers():
    return {
        "conv": Conv2d(4, 6),
        "batch_norm": BatchNorm(4),
        "conv_norm": ConvNorm(4, 6, stride=2, relu=True),
        "mean": GlobalMean(),
        "basic": BasicBlock(4),
        "bottleneck": Bottleneck(4, 8),
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
@pytest.mark.parametrize("name", list(layers()))
def test_a_layer_gives_back_the_dtype_it_was_given(name, dtype, training, images):
    layer = layers()[name].set_train(training)
    x = images(2, 4, 9, 7).astype(dtype)
    y = layer(x)
    assert y.dtype == dtype
    float32 = layers()[name]
    ms.load_param_into_net(float32, {p.name: p for p in layer.get_parameters() if p.requires_grad})
    reference = float32.set_train(training)(x.astype(ms.float32))
    np.testing.assert_allclose(y.astype(ms.float32).asnumpy(), reference.asnumpy(), atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
def test_the_other_layers_give_back_their_dtype(dtype, images):
    assert Dense(4, 5)(images(2, 4).astype(dtype)).dtype == dtype
    assert Upsample()(images(2, 4, 3, 3).astype(dtype), images(2, 4, 6, 5).astype(dtype)).dtype == dtype
    branches = (images(2, 4, 9, 9).astype(dtype), images(2, 8, 5, 5).astype(dtype))
    assert Exchange((4, 8), 0)(branches).dtype == dtype
    assert CastTo(ms.float16)(images(2, 4).astype(dtype)).dtype == ms.float16


def test_every_layer_computes_gradients_in_half(images):
    layer = ConvNorm(4, 6, relu=True).set_train()
    x = images(2, 4, 9, 7).astype(ms.float16)
    gradient = ops.value_and_grad(lambda a: layer(a).astype(ms.float32).sum(), 0, layer.trainable_params())
    _, (of_input, of_weights) = gradient(x)
    assert of_input.dtype == ms.float16
    assert {g.dtype for g in of_weights} == {ms.float32}


def test_convolution_against_numpy(images):
    layer, x = Conv2d(2, 3, stride=2), images(1, 2, 7, 6)
    padded = np.pad(x.asnumpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    weight = layer.weight.asnumpy()
    expected = np.array(
        [
            [[(padded[0, :, i : i + 3, j : j + 3] * w).sum() for j in range(0, 6, 2)] for i in range(0, 7, 2)]
            for w in weight
        ]
    )
    np.testing.assert_allclose(layer(x).asnumpy()[0], expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_trains_on_the_batch_and_moves_a_tenth(images):
    layer, x = BatchNorm(3).set_train(), images(4, 3, 5, 5) * 3 + 7
    y, data = layer(x).asnumpy(), x.asnumpy()
    mean, variance = data.mean((0, 2, 3)), data.var((0, 2, 3))
    expected = (data - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean.asnumpy(), 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.asnumpy(), 0.9 + 0.1 * variance * 100 / 99, rtol=1e-4)


def test_batch_norm_evaluates_with_the_moving_statistics(images):
    layer, x = BatchNorm(2).set_train(False), images(2, 2, 3, 3)
    layer.moving_mean.set_data(ms.Tensor([1.0, -2.0]))
    layer.moving_variance.set_data(ms.Tensor([4.0, 0.25]))
    expected = (x.asnumpy() - np.array([1, -2])[:, None, None]) / np.sqrt(np.array([4, 0.25])[:, None, None] + 1e-5)
    np.testing.assert_allclose(layer(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    assert layer.moving_mean.asnumpy().tolist() == [1.0, -2.0]


def test_batch_norm_gathers_float32_statistics_of_a_half_batch(images):
    """A large mean with a small spread is where half-precision sums go wrong."""
    x = (images(16, 2, 20, 20) * 0.5 + 200).astype(ms.float16)
    layer = BatchNorm(2).set_train()
    layer(x)
    data = x.asnumpy().astype(np.float64)
    np.testing.assert_allclose(layer.moving_mean.asnumpy(), 0.1 * data.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.asnumpy(), 0.9 + 0.1 * data.var((0, 2, 3)), rtol=1e-3)


def test_upsample_takes_the_nearest_pixel():
    x = ms.Tensor(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
    even = Upsample()(x, ms.ops.zeros((1, 9, 4, 4))).asnumpy()[0, 0]
    np.testing.assert_array_equal(even, np.kron([[0, 1], [2, 3]], np.ones((2, 2))))
    odd = Upsample()(x, ms.ops.zeros((1, 9, 3, 3))).asnumpy()[0, 0]
    np.testing.assert_array_equal(odd, [[0, 0, 1], [0, 0, 1], [2, 2, 3]])


def test_initial_values():
    conv = Conv2d(64, 128, kernel=3)
    weight = conv.weight.asnumpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)
    assert abs(weight.mean()) < 1e-3
    assert np.abs(weight).max() > 3.5 * weight.std()  # normal, neither uniform nor truncated
    norm = BatchNorm(3)
    assert [p.asnumpy().tolist() for p in norm.get_parameters()] == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]
    dense = Dense(400, 50)
    assert np.abs(dense.weight.asnumpy()).max() == pytest.approx(1 / 20, rel=0.01)
    assert dense.weight.asnumpy().std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.03)
    assert not dense.bias.asnumpy().any()


def test_the_seed_decides_the_initial_values():
    def weights(seed):
        ms.set_seed(seed)
        return Conv2d(3, 4).weight.asnumpy()

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.parametrize(("training", "inside"), [(True, ms.float32), (False, ms.float16)])
def test_upsampling_of_half_precision_is_in_float32_while_training(monkeypatch, training, inside):
    seen = []
    call = ops.ResizeNearestNeighbor.__call__

    def watched(self, x):
        seen.append(x.dtype)
        return call(self, x)

    monkeypatch.setattr(ops.ResizeNearestNeighbor, "__call__", watched)
    upsample = Upsample().set_train(training)
    x = ms.Tensor([[[[1.0, 2.0]]]], ms.float16)
    y = upsample(x, ms.Tensor(np.zeros((1, 3, 2, 4)), ms.float16))
    assert seen == [inside] and y.dtype == ms.float16
    np.testing.assert_array_equal(y.asnumpy()[0, 0], [[1, 1, 2, 2]] * 2)
