"""The export job: what it writes, on what it compares, and what it refuses without leaving anything behind."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.errors import CheckpointError, ConfigError, RunError
from mindcv_hrnet.jobs import export as module
from mindcv_hrnet.models.variants import VARIANTS
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.weights import write_weights

pytestmark = pytest.mark.usefixtures("pynative")

RECIPE = "--model hrnet_w18_small --mode 1 --image_resize 32 --device_target CPU --data_dir /nowhere"


@pytest.fixture(scope="module", autouse=True)
def _small(tiny_spec):
    """A variant of some thousand parameters takes hrnet_w18_small's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "hrnet_w18_small", tiny_spec)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint with seven classes that have names."""
    import mindspore as ms

    from mindcv_hrnet import create_model

    ms.set_seed(0)
    network = create_model("hrnet_w18_small", 7)
    arrays = {name: each.asnumpy() for name, each in network.parameters_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "a.ckpt"
    write_weights(arrays, path, class_names=tuple("abcdefg"))
    return path, arrays


def export(path, *argv):
    return module.export(parse_config([*RECIPE.split(), "--ckpt_path", str(path), *map(str, argv)]))


@pytest.mark.slow
def test_both_formats_of_one_checkpoint(weights, tmp_path, capsys, caplog):
    with caplog.at_level(logging.INFO):
        targets = export(weights[0], "--file_format", "MINDIR,ONNX", "--file_name", tmp_path / "net.v2.onnx")
    assert targets == [tmp_path / "net.v2.mindir", tmp_path / "net.v2.onnx"]
    assert capsys.readouterr().out == "".join(f"{target}\n" for target in targets)
    assert sorted(os.listdir(tmp_path)) == ["net.v2.mindir", "net.v2.onnx"]
    assert "comparing on 4 drawn images: data_dir has no validation images" in caplog.messages
    assert caplog.messages[-1] == "input (any, 3, 32, 32) float32; outputs: logits"
    one, other = (load_model(target) for target in targets)
    assert one.metadata == other.metadata and one.metadata.class_names == tuple("abcdefg")
    assert one.metadata.weights_digest.startswith("sha256:")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(one(images), other(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_switches_reach_both_files(weights, tmp_path):
    options = ("--export_input", "uint8", "--export_batch_size", "2", "--export_features", "incre")
    mindir, onnx = export(weights[0], "--file_format", "MINDIR", "ONNX", "--file_name", tmp_path / "a", *options)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    one, other = load_model(mindir), load_model(onnx)
    assert one.metadata.input_shape == (2, 3, 32, 32) and one.metadata.class_names == ()
    assert [each.shape for each in one.maps(pixels)] == [
        (3, 4, 8, 8),
        (3, 8, 4, 4),
        (3, 12, 2, 2),
        (3, 16, 1, 1),
    ]
    for a, b in zip(one.maps(pixels), other.maps(pixels), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())


def test_any_size_is_compared_at_another_one(weights, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "compare", lambda network, path, examples, graphs: seen.extend(examples) or 0.0)
    (target,) = export(weights[0], "--file_format", "ONNX", "--export_dynamic_size", "--file_name", tmp_path / "a")
    assert [each.shape for each in seen] == [(4, 3, 32, 32), (1, 3, 45, 69)]
    assert load_model(target).metadata.input_shape == (None, 3, None, None)


def test_validation_images_are_compared_where_there_are_some(weights, tmp_path, caplog):
    for label in "abcdefg":
        (tmp_path / "val" / label).mkdir(parents=True)
        pixels = np.random.default_rng(ord(label)).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / label / "1.png")
    with caplog.at_level(logging.INFO):
        export(weights[0], "--data_dir", tmp_path, "--file_format", "ONNX", "--file_name", tmp_path / "a")
    assert f"comparing on 4 images of {tmp_path}/val" in caplog.messages


def test_half_precision_concerns_mindir_alone(weights, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        export(weights[0], "--val_amp_level", "O2", "--file_format", "ONNX", "--file_name", tmp_path / "a")
    assert "ONNX is float32; val_amp_level O2 concerns the other formats" in caplog.messages


def test_another_network_is_not_kept(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "largest_difference", lambda *outputs: 0.1)
    with pytest.raises(RunError) as error:
        export(weights[0], "--file_format", "ONNX", "--file_name", tmp_path / "a")
    message = f"{tmp_path}/a.onnx: the exported graph differs from the network by 1.0e-01; nothing was kept"
    assert str(error.value) == message and os.listdir(tmp_path) == []


@pytest.mark.parametrize("file_format", ["ONNX", pytest.param("MINDIR", marks=pytest.mark.slow)])
def test_a_full_disk_leaves_nothing(weights, tmp_path, file_format):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(RunError) as error:
            export(weights[0], "--file_format", file_format, "--file_name", tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value).startswith(f"{tmp_path}/a.{file_format.lower()}: cannot be written (File too large); ")
    assert os.listdir(tmp_path) == []


def test_targets_that_cannot_be(weights, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "a.onnx").mkdir()
    for name in ("file/a", "a"):
        with pytest.raises(RunError) as error:
            export(weights[0], "--file_format", "ONNX", "--file_name", tmp_path / name)
        assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["a.onnx", "file"]


def test_checkpoints_that_do_not_fit(weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.ckpt: has 7 classes, the network 5; pass --num_classes 7$"):
        export(weights[0], "--num_classes", "5")
    arrays = {**weights[1], "classifier.bias": np.full(7, np.nan, np.float32)}
    write_weights(arrays, tmp_path / "nan.ckpt")
    with pytest.raises(CheckpointError, match=r"classifier\.bias holds values that are not finite"):
        export(tmp_path / "nan.ckpt")


def test_formats_that_cannot_be_written_here(weights, monkeypatch):
    words = "file_format AIR is written on Ascend only, the device is CPU; choose MINDIR or ONNX"
    with pytest.raises(ConfigError, match=f"^{words}$"):
        export(weights[0], "--file_format", "ONNX,AIR", "--export_batch_size", "1")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        export(weights[0], "--file_format", "ONNX")
    assert str(error.value) == (
        "file_format ONNX: onnx and onnxruntime not installed here; pip install 'mindcv-hrnet[onnx]'"
    )
