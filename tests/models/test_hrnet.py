"""The network: its parameters, image sizes, features, errors, graph mode and export."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from mindspore.nn.utils import no_init_parameters
from repository import GOLDEN

from mindcv_hrnet import create_model
from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.hrnet import HRNet, HRNetFeatures


def names(network):
    return [p.name for p in network.get_parameters()]


def copy_weights(source, target):
    left_over, _ = ms.load_param_into_net(target, {p.name: p for p in source.get_parameters()})
    assert left_over == []


@pytest.mark.parametrize("name", ["hrnet_w32", "hrnet_w48"])
def test_parameters_are_those_of_mindcv(name):
    """Names, shapes, order, and which of them are trained."""
    with no_init_parameters():
        network = create_model(name)
    rows = (GOLDEN / f"mindcv_{name}_parameters.tsv").read_text().splitlines()[1:]
    ours = [
        f"{key}\t{'x'.join(map(str, p.shape))}\t{int(p.requires_grad)}" for key, p in network.parameters_and_names()
    ]
    assert ours == rows
    assert all(key == p.name for key, p in network.parameters_and_names())


def test_the_tiny_network_is_tiny(tiny_spec):
    network = HRNet(tiny_spec, num_classes=5)
    assert sum(p.size for p in network.get_parameters()) < 20_000
    assert all(f"stage4.0.branches.{i}.0.conv1.weight" in names(network) for i in range(4))


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (33, 47), (75, 53), (63, 65)])
def test_any_image_size(tiny_spec, images, size):
    height, width = size
    network = HRNet(tiny_spec, num_classes=5).set_train(False)
    assert network(images(2, 3, height, width)).shape == (2, 5)
    maps = HRNetFeatures(tiny_spec).set_train(False)(images(1, 3, height, width))
    for i, reduction in enumerate((4, 8, 16, 32)):
        assert maps[i].shape == (1, 2 * 2**i, -(-height // reduction), -(-width // reduction))


def test_in_channels_and_classes(tiny_spec, images):
    network = HRNet(tiny_spec, num_classes=7, in_channels=5)
    assert network(images(2, 5, 32, 32)).shape == (2, 7)
    assert network.conv1.weight.shape == (4, 5, 3, 3)


def test_logits_are_float32_for_any_image_dtype(tiny_spec, images):
    network = HRNet(tiny_spec, num_classes=5).set_train(False)
    x = images(2, 3, 32, 32)
    assert network(x.astype(ms.float16)).dtype == ms.float32
    assert network((x * 50).astype(ms.uint8)).dtype == ms.float32


def test_pre_logits_are_what_the_classifier_sees(tiny_spec, images):
    whole = HRNet(tiny_spec, num_classes=5).set_train(False)
    headless = HRNet(tiny_spec, num_classes=0).set_train(False)
    assert names(headless) == [n for n in names(whole) if not n.startswith("classifier")]
    ms.load_param_into_net(headless, {p.name: p for p in whole.get_parameters()})
    x = images(2, 3, 64, 64)
    vector = headless(x)
    assert vector.shape == (2, tiny_spec.head_features)
    np.testing.assert_array_equal(vector.asnumpy(), whole.pre_logits(x).asnumpy())
    np.testing.assert_allclose(whole.classifier(vector).asnumpy(), whole(x).asnumpy(), rtol=1e-5)


def test_dropout_acts_while_training_only(tiny_spec, images):
    plain, dropping = HRNet(tiny_spec, num_classes=5), HRNet(tiny_spec, num_classes=5, drop_rate=0.5)
    copy_weights(plain, dropping)
    x = images(4, 3, 32, 32)
    np.testing.assert_array_equal(plain.set_train(False)(x).asnumpy(), dropping.set_train(False)(x).asnumpy())
    assert not np.array_equal(plain.set_train()(x).asnumpy(), dropping.set_train()(x).asnumpy())


@pytest.mark.parametrize("widened", [False, True])
def test_features_come_in_the_order_asked(tiny_spec, images, widened):
    whole = HRNet(tiny_spec, num_classes=5).set_train(False)
    some = HRNetFeatures(tiny_spec, out_indices=(3, 0), widened=widened).set_train(False)
    copy_weights(whole, some)
    x = images(2, 3, 64, 96)
    branches = whole.trunk(x)
    expected = [whole.widen[i](branches[i]) if widened else branches[i] for i in (3, 0)]
    maps = some(x)
    assert len(maps) == 2
    for got, want, info in zip(maps, expected, some.feature_info, strict=True):
        np.testing.assert_array_equal(got.asnumpy(), want.asnumpy())
        assert got.shape == (2, info.channels, 64 // info.reduction, 96 // info.reduction)
        assert got.dtype == ms.float32
    assert [i.channels for i in some.feature_info] == ([16, 4] if widened else [16, 2])


def test_a_backbone_has_only_the_parameters_its_maps_need(tiny_spec, images):
    every = set(names(HRNet(tiny_spec, num_classes=5)))
    network = HRNetFeatures(tiny_spec, out_indices=(1,), widened=True).set_train()
    ours = set(names(network))
    assert ours < every
    assert not any(n.startswith(("classifier", "final_layer", "downsample_modules")) for n in ours)
    assert {n.split(".")[1] for n in ours if n.startswith("incre_modules")} == {"1"}
    assert {n.split(".")[3] for n in ours if n.startswith("stage4.0.fuse_layers")} == {"1"}
    gradient = ops.value_and_grad(lambda x: (network(x)[0] ** 2).sum(), None, network.trainable_params())
    _, gradients = gradient(images(2, 3, 64, 64))
    dead = [p.name for p, g in zip(network.trainable_params(), gradients, strict=True) if not g.asnumpy().any()]
    # A batch normalisation cancels what a shift before it does, but no weight may be without an effect.
    assert [n for n in dead if n.endswith("weight")] == []


def test_create_model_makes_backbones():
    network = create_model("hrnet_w18_small", features_only=True, features="incre", out_indices=(2, 0))
    assert network.feature_info == ((512, 16), (128, 4))
    network = create_model("hrnet_w18_small", features_only=True)
    assert network.feature_info == ((16, 4), (32, 8), (64, 16), (128, 32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "hrnet_w33"}, "did you mean 'hrnet_w32'"),
        ({"num_classes": -1}, "num_classes"),
        ({"in_channels": 0}, "in_channels"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"drop_rate": 0.1, "num_classes": 0}, "no effect"),
        ({"features_only": True, "features": "wide"}, "unknown features 'wide'. Choices: raw, incre"),
        ({"features_only": True, "out_indices": (0, 4)}, "out_indices"),
        ({"features_only": True, "out_indices": (1, 1)}, "out_indices"),
        ({"features_only": True, "out_indices": ()}, "out_indices"),
        ({"out_indices": (0, 1)}, "features_only=True"),
        ({"features": "incre"}, "features_only=True"),
        (
            {"pretrained": True},
            "pretrained: no weights of hrnet_w18_small are published, only of hrnet_w32, hrnet_w48; name a file",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message) as error:
        create_model(**{"name": "hrnet_w18_small", **settings})
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_network_exports_to_onnx(tiny_spec, images, tmp_path):
    network = HRNet(tiny_spec, num_classes=5).set_train(False)
    ms.export(network, images(1, 3, 64, 64), file_name=str(tmp_path / "tiny"), file_format="ONNX")
    assert (tmp_path / "tiny.onnx").stat().st_size > 4 * sum(p.size for p in network.trainable_params())


@pytest.mark.slow
def test_graph_mode_equals_pynative_and_exports_with_dynamic_sizes(tiny_spec, images, tmp_path):
    class Both(nn.Cell):
        """Logits and features by one graph, so that one compilation tests both."""

        def __init__(self):
            super().__init__()
            self.classify = HRNet(tiny_spec, num_classes=5)
            self.extract = HRNetFeatures(tiny_spec, out_indices=(2, 0), widened=True)

        def construct(self, x):
            return (self.classify(x), *self.extract(x))

    network = Both().set_train(False)
    batches = [images(3, 3, 43, 70), images(1, 3, 64, 32)]
    expected = [[y.asnumpy() for y in network(x)] for x in batches]

    ms.set_context(mode=ms.GRAPH_MODE)
    placeholder = ms.Tensor(shape=[None, 3, None, None], dtype=ms.float32)
    ms.export(network, placeholder, file_name=str(tmp_path / "both"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "both.mindir")))
    loaded.set_inputs(placeholder)
    for x, wanted in zip(batches, expected, strict=True):
        for got, want in zip(loaded(x), wanted, strict=True):
            np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-4, atol=1e-5)
