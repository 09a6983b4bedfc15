"""ONNX files: equal to the network at every size, small, open in the batch, and full of what they need."""

import collections
from dataclasses import replace

import numpy as np
import onnx
import pytest

from mindcv_hrnet.deploy.container import seal
from mindcv_hrnet.deploy.metadata import Metadata
from mindcv_hrnet.deploy.onnx_file import build_onnx, write_onnx
from mindcv_hrnet.deploy.runner import OnnxModel, load_model
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.models.variants import VARIANTS
from mindcv_hrnet.recipe.config import parse_config

pytestmark = pytest.mark.usefixtures("pynative")

BOUND = 1e-5


@pytest.fixture(scope="module")
def build(tiny_spec):
    """A function (spec changes) -> HRNet in evaluation mode, whose normalisations do something."""
    import mindspore as ms

    from mindcv_hrnet.models import HRNet

    def make(in_channels=3, **changes):
        ms.set_seed(0)
        return unsettled(HRNet(replace(tiny_spec, **changes), 5, in_channels))

    return make


def unsettled(network):
    """The network with statistics and factors that differ from channel to channel."""
    import mindspore as ms

    generator = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if parameter.ndim == 1:
            low, high = (0.5, 2) if parameter.name.endswith(("gamma", "variance")) else (-0.3, 0.3)
            parameter.set_data(ms.Tensor(generator.uniform(low, high, parameter.shape), ms.float32))
    return network.set_train(False)


def metadata(side, channels=3, **changes):
    argv = f"--image_resize {side} --in_channels {channels}"
    return replace(Metadata.of(parse_config(argv.split()), ["a", "b", "c", "d", "e"]), **changes)


def images(batch, channels, height, width):
    return np.random.default_rng(height).standard_normal((batch, channels, height, width), dtype=np.float32)


def differs(theirs, network, inputs):
    import mindspore as ms

    outputs = network(ms.Tensor(inputs))
    expected = [each.asnumpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,))]
    assert all(each.std() > 1e-3 for each in expected)
    return max(np.abs(own - other).max() / np.abs(other).max() for own, other in zip(theirs, expected, strict=True))


@pytest.mark.slow
def test_the_file_is_told_from_mindir_by_its_content(tiny_onnx, tiny_mindir, tmp_path):
    path = tmp_path / "renamed.mindir"
    path.write_bytes(tiny_onnx.read_bytes())
    model = load_model(path)
    assert isinstance(model, OnnxModel) and model.format == "ONNX" and model.metadata == tiny_mindir[2]
    inputs = images(3, 3, 32, 32)
    np.testing.assert_allclose(model(inputs), load_model(tiny_mindir[0])(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [32, 45, 64, 97])
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_to_the_network(build, tmp_path, side, channels):
    network, path = build(channels), tmp_path / "a.onnx"
    write_onnx(network, metadata(side, channels), path)
    model = load_model(path)
    for batch in (1, 3):
        inputs = images(batch, channels, side, side)
        assert differs(model.maps(inputs), network, inputs) < BOUND


def test_any_size(build, tmp_path):
    network, path = build(), tmp_path / "a.onnx"
    write_onnx(network, metadata(64, dynamic_size=True), path)
    model = load_model(path)
    for height, width in ((32, 32), (33, 47), (64, 96), (101, 50)):
        inputs = images(2, 3, height, width)
        assert differs(model.maps(inputs), network, inputs) < BOUND


def test_pixels(build, tmp_path):
    from mindcv_hrnet.deploy.images import Preprocessor

    network, path, noted = build(), tmp_path / "a.onnx", metadata(40, input_dtype="uint8")
    write_onnx(network, noted, path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 40), np.uint8)
    assert differs(load_model(path).maps(pixels), network, Preprocessor(noted).normalize(pixels)) < BOUND


@pytest.mark.parametrize("widened", [False, True])
def test_backbone(tiny_spec, tmp_path, widened):
    from mindcv_hrnet.models import HRNetFeatures

    network = unsettled(HRNetFeatures(tiny_spec, 3, (3, 0), widened))
    path = tmp_path / "a.onnx"
    write_onnx(network, metadata(72, outputs=("stride32", "stride4")), path)
    model = load_model(path)
    inputs = images(2, 3, 72, 72)
    maps = model.maps(inputs)
    channels = (16, 4) if widened else (16, 2)
    assert [each.shape for each in maps] == [(2, channels[0], 3, 3), (2, channels[1], 18, 18)]
    assert differs(maps, network, inputs) < BOUND


# Of the full networks the paper's; the two small ones have fewer blocks and modules
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet_w18_small", "hrnet_w18_small_v2", "hrnet_w32"])
def test_every_layout_of_the_table(build, tmp_path, name):
    spec = VARIANTS[name]
    network = build(stage1=(spec.stage1[0], 8), modules=spec.modules, blocks=spec.blocks)
    path = tmp_path / "a.onnx"
    write_onnx(network, metadata(64), path)
    inputs = images(1, 3, 64, 64)
    assert differs(load_model(path).maps(inputs), network, inputs) < BOUND


def test_small_clean_graph(build):
    model = build_onnx(build(), metadata(64))
    kinds = collections.Counter(node.op_type for node in model.graph.node)
    assert set(kinds) == {"Conv", "Relu", "Add", "Resize", "GlobalAveragePool", "Flatten", "Gemm"}
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)] and model.ir_version == 8
    shape = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert (model.graph.input[0].name, shape) == ("images", ["N", 3, 64, 64])
    # after shape inference every tensor has all its sides
    known = {info.name: info.type.tensor_type.shape.dim for info in model.graph.value_info}
    for node in model.graph.node[:-1]:
        sides = [dim.dim_value for dim in known[node.output[0]]][1:]
        assert len(known[node.output[0]]) in (2, 4) and min(sides) > 0, node.name
    names = {tensor.name for tensor in model.graph.initializer}
    assert {"stage4.0.branches.0.0.conv1.weight", "classifier.bias"} <= names


def test_what_travels_with_it(build, tmp_path):
    noted, path = metadata(64, weights_digest="sha256:0"), tmp_path / "a.onnx"
    write_onnx(build(), noted, path)
    assert load_model(path).metadata == noted
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("mindcv-hrnet", noted.version)


def test_a_file_that_the_runtime_refuses(tiny_onnx, tmp_path):
    model, path = onnx.load(tiny_onnx), tmp_path / "a.onnx"
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, path)
    seal(path)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: ONNX Runtime ") and "\n" not in str(error.value)
    assert "refuses it" in str(error.value) and str(error.value).endswith("; export it again")


def test_threads(tiny_onnx):
    model = load_model(tiny_onnx, threads=1)
    assert isinstance(model, OnnxModel)
    assert model.session.get_session_options().intra_op_num_threads == 1


@pytest.mark.slow
def test_a_variant_of_full_size(tmp_path):
    """One; scripts/check_onnx.py has all nine."""
    from mindcv_hrnet import create_model

    network, path = unsettled(create_model("hrnet_w32")), tmp_path / "a.onnx"
    write_onnx(network, metadata(64), path)
    inputs = images(1, 3, 64, 64)
    assert differs(load_model(path).maps(inputs), network, inputs) < 1e-4
