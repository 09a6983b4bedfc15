"""From weights to networks: exactly, adapted, or not at all."""

import logging
from dataclasses import asdict

import numpy as np
import pytest
from golden_fill import fill
from mindspore import Tensor
from mindspore.nn.utils import no_init_parameters

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.models import create_model
from mindcv_hrnet.models.hrnet import HRNetFeatures
from mindcv_hrnet.runtime.files import digest_of, write_json
from mindcv_hrnet.weights import adapt_weights, fit_weights, load_weights, write_weights
from mindcv_hrnet.weights.fit import adapt_channels
from mindcv_hrnet.weights.manifest import Checkpoint, Manifest, State


def values(network):
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def assert_only(before, after, changed):
    """Of two sets of values, these differ and no others."""
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(changed)


def refusal(function, *arguments):
    with pytest.raises(CheckpointError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, "mindcv_hrnet")
    return lambda: [record.getMessage() for record in caplog.records]


def test_exact_fit(tmp_path, tiny_classifier, tiny_arrays):
    network = tiny_classifier()
    write_weights(tiny_arrays, tmp_path / "w.pth")
    load_weights(network, str(tmp_path / "w.pth"))
    assert_only(tiny_arrays, values(network), ())


def test_another_number_of_classes_keeps_everything_else(tiny_classifier, tiny_arrays, messages):
    network = tiny_classifier(num_classes=7)
    fresh = values(network)
    adapt_weights(network, tiny_arrays, "file")
    after = values(network)
    for name, array in after.items():
        expected = fresh if name.startswith("classifier.") else tiny_arrays
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert messages() == [
        "file: classifier.weight re-initialised, 3x6 in the file, 7x6 here",
        "file: classifier.bias re-initialised, 3 in the file, 7 here",
        f"weights: file, {len(tiny_arrays) - 2} tensors loaded",
    ]


def test_the_same_classes_keep_the_classifier(tiny_classifier, tiny_arrays, messages):
    network = tiny_classifier()
    adapt_weights(network, tiny_arrays, "file")
    assert_only(tiny_arrays, values(network), ())
    assert messages() == [f"weights: file, {len(tiny_arrays)} tensors loaded"]


@pytest.mark.parametrize(
    ("channels", "how"),
    [(1, "summed"), (2, "repeated and scaled"), (4, "repeated and scaled"), (7, "repeated and scaled")],
)
def test_other_image_channels(tiny_classifier, tiny_arrays, messages, channels, how):
    network = tiny_classifier(in_channels=channels)
    adapt_weights(network, tiny_arrays, "file")
    weight, given = network.conv1.weight.asnumpy(), tiny_arrays["conv1.weight"]
    if channels == 1:
        np.testing.assert_allclose(weight[:, 0], given[:, 0] + given[:, 1] + given[:, 2], rtol=1e-6)
    else:
        for channel in range(channels):
            np.testing.assert_allclose(weight[:, channel], given[:, channel % 3] * 3 / channels, rtol=1e-6)
    assert f"file: conv1.weight {how} over the image channels, 3 in the file, {channels} here" in messages()
    assert_only({name: array for name, array in tiny_arrays.items() if name != "conv1.weight"}, values(network), ())


def test_a_grey_image_gets_the_same_logits(tiny_classifier, tiny_arrays):
    colour, grey = tiny_classifier().set_train(False), tiny_classifier(in_channels=1).set_train(False)
    fit_weights(colour, tiny_arrays, "file")
    adapt_weights(grey, tiny_arrays, "file")
    image = np.random.default_rng(0).standard_normal((2, 1, 32, 32), np.float32)
    three = np.repeat(image, 3, axis=1)
    np.testing.assert_allclose(grey(Tensor(image)).asnumpy(), colour(Tensor(three)).asnumpy(), rtol=1e-3, atol=1e-5)


def test_channels_from_one():
    weight = np.full((2, 1, 3, 3), 6, np.float32)
    assert adapt_channels(weight, 3).tolist() == np.full((2, 3, 3, 3), 2).tolist()


# --- nothing is half-loaded ----------------------------------------------------------------------------------------


def test_strict_fit_refuses_another_number_of_classes(tiny_classifier, tiny_arrays):
    network = tiny_classifier(num_classes=7)
    before = values(network)
    assert refusal(fit_weights, network, tiny_arrays, "file") == (
        "file: has 3 classes, the network 7; pass --num_classes 3"
    )
    assert_only(before, values(network), ())


@pytest.mark.parametrize("function", [fit_weights, adapt_weights])
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(tiny_classifier, tiny_arrays, function):
    network = tiny_classifier()
    before = values(network)
    arrays = {name: array for name, array in tiny_arrays.items() if name != "bn2.beta"}
    arrays["extra.weight"] = np.zeros((2, 3), np.float32)
    arrays["conv2.weight"] = np.zeros((5, 2, 3, 3), np.float32)
    assert refusal(function, network, arrays, "file") == (
        "file: does not fit the network, 1 missing (bn2.beta); 1 unknown (extra.weight 2x3); "
        "1 of another shape (conv2.weight is 5x2x3x3, the network has 2x2x3x3); "
        "is it incomplete, or of another network?"
    )
    assert_only(before, values(network), ())


def test_a_variant_of_another_width_is_told_by_it(tiny_classifier, tiny_arrays, tiny_network):
    network = tiny_network(3)
    before = values(network)
    message = refusal(adapt_weights, network, tiny_arrays, "file")
    assert message.endswith("it is of width 1, the network of width 2")
    assert_only(before, values(network), ())


def test_a_classifier_that_is_missing_is_an_error(tiny_classifier, tiny_arrays):
    arrays = {name: array for name, array in tiny_arrays.items() if not name.startswith("classifier")}
    assert "2 missing (classifier.weight, classifier.bias)" in refusal(
        adapt_weights, tiny_classifier(9), arrays, "file"
    )


# --- backbones and create_model ------------------------------------------------------------------------------------


def test_a_backbone_takes_what_it_needs_of_a_classifier(tiny_arrays, messages):
    from states import TINY

    from mindcv_hrnet.models.factory import unused_by

    backbone = HRNetFeatures(TINY, out_indices=(1,))
    adapt_weights(backbone, tiny_arrays, "file", unused_by(backbone))
    after = values(backbone)
    assert_only({name: tiny_arrays[name] for name in after}, after, ())
    left = len(tiny_arrays) - len(after)
    parts = "classifier, downsample_modules, final_layer, incre_modules, stage4"
    assert messages()[0] == f"file: {left} weights left over, this network has no use for them ({parts})"


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """A checkpoint of hrnet_w18_small with 1000 classes."""
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    with no_init_parameters():
        shapes = {name: p.shape for name, p in create_model("hrnet_w18_small").parameters_dict().items()}
    write_weights({name: fill(name, shape) for name, shape in shapes.items()}, path)
    return path


def test_create_model_adapts(small_file, messages):
    from mindcv_hrnet.weights import read_checkpoint

    arrays = read_checkpoint(str(small_file))
    for settings, missing in (
        ({"num_classes": 5, "in_channels": 1}, {"conv1.weight", "classifier.weight", "classifier.bias"}),
        ({"features_only": True, "out_indices": (2, 0), "features": "incre"}, set()),
        ({"num_classes": 0}, set()),
    ):
        with no_init_parameters():
            network = create_model("hrnet_w18_small", checkpoint=str(small_file), **settings)
        after = values(network)
        same = {name for name in after if np.array_equal(after[name], arrays[name])}
        assert set(after) - same == missing
    assert any("classifier.weight re-initialised, 1000x2048 in the file, 5x2048 here" in line for line in messages())


def test_create_model_refuses_another_variant(small_file):
    with no_init_parameters():
        message = refusal(lambda: create_model("hrnet_w18_small_v2", checkpoint=str(small_file)))
    assert message == (
        f"{small_file}: these are weights of hrnet_w18_small, not of hrnet_w18_small_v2: "
        'create_model("hrnet_w18_small", ...)'
    )


def test_create_model_takes_a_run_folder(small_file, tmp_path, messages):
    (tmp_path / "small-best.ckpt").write_bytes(small_file.read_bytes())
    best = Checkpoint("small-best.ckpt", 3, 30, 71.5, small_file.stat().st_size, digest_of(small_file))
    state = State("small-state-3.ckpt", 3, 30, 1.0, False, 1, 8, 10, 80, 80, 1, "0" * 64)
    write_json(tmp_path / "manifest.json", asdict(Manifest("small", ["a"], [best], best, [state])))
    with no_init_parameters():
        network = create_model("hrnet_w18_small", checkpoint=str(tmp_path))
        message = refusal(lambda: create_model("hrnet_w18_small", 7, checkpoint=str(tmp_path)))
        finetuned = create_model("hrnet_w18_small", 7, checkpoint=f"{tmp_path}/small-best.ckpt")
        create_model("hrnet_w18_small", features_only=True, checkpoint=str(tmp_path))
    assert messages()[0] == f"{tmp_path}: its small-best.ckpt, epoch 3, top-1 71.50 %"
    assert message == (
        f"{tmp_path}: has 1000 classes, the network 7; pass num_classes=1000, "
        f"or checkpoint='{tmp_path}/small-best.ckpt' to start other classes from it"
    )
    for loaded in (network, finetuned):
        np.testing.assert_array_equal(loaded.conv1.weight.asnumpy(), fill("conv1.weight", (64, 3, 3, 3)))
