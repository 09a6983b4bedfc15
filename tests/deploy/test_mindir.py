"""Exported files: any batch or one, what travels with them, and files that are not ours."""

from dataclasses import replace

import numpy as np
import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.config import parse_config

pytestmark = pytest.mark.usefixtures("pynative")


def images(batch, side=32):
    return np.random.default_rng(batch).standard_normal((batch, 3, side, side), dtype=np.float32)


def input_shape(path):
    import mindspore as ms

    return list(ms.load_mindir(str(path)).graph.input[0].tensor[0].dims)


@pytest.fixture(scope="module")
def fixed(tiny_mindir, tmp_path_factory):
    """The tiny network exported for batches of 2."""
    from mindcv_hrnet.deploy.mindir import write_mindir

    _, network, metadata = tiny_mindir
    path = tmp_path_factory.mktemp("fixed") / "fixed.mindir"
    write_mindir(network, replace(metadata, batch_size=2), path)
    return path


def test_any_batch_gives_the_logits_of_the_network(tiny_mindir):
    import mindspore as ms

    from mindcv_hrnet.deploy.runner import load_model

    path, network, metadata = tiny_mindir
    assert input_shape(path) == [-1, 3, 32, 32]
    model = load_model(path)
    assert (model.metadata, model.format) == (metadata, "MINDIR")
    for batch in (1, 3, 7):
        expected = network(ms.Tensor(images(batch))).asnumpy()
        assert expected.shape == (batch, 5) and expected.std() > 1e-3
        np.testing.assert_allclose(model(images(batch)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_fixed_batch(tiny_mindir, fixed):
    import mindspore as ms

    from mindcv_hrnet.deploy.runner import load_model

    assert input_shape(fixed) == [2, 3, 32, 32]
    model = load_model(fixed)
    assert model.metadata == replace(tiny_mindir[2], batch_size=2)
    for batch in (2, 1, 5):  # others are cut into batches of two, and the last is filled up
        expected = tiny_mindir[1](ms.Tensor(images(batch))).asnumpy()
        np.testing.assert_allclose(model(images(batch)), expected, rtol=1e-4, atol=1e-5)


def test_export_compares_what_it_wrote(tiny_mindir, fixed, tiny_network):
    import mindspore as ms

    from mindcv_hrnet.deploy.compare import natural_images
    from mindcv_hrnet.jobs.export import compare

    _, network, _ = tiny_mindir
    examples = [natural_images(3, 3, 32, 32)]
    assert compare(network, fixed, examples) < 1e-5
    # another network's file must not pass
    ms.set_seed(1)
    assert compare(tiny_network().set_train(False), fixed, examples) > 1e-2


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ("--ckpt_path run/hrnet_w32-best.ckpt", "run/hrnet_w32.mindir"),
        ("--ckpt_path run/a.ckpt --file_name out/net", "out/net.mindir"),
        ("--ckpt_path run/a.ckpt --file_name out/net.v2", "out/net.v2.mindir"),
        ("--ckpt_path run/a.ckpt --file_name net.mindir", "net.mindir"),
        ("--ckpt_path run/a.ckpt --file_name net.mindir --file_format ONNX", "net.onnx"),
        (
            "--ckpt_path a --file_name net --file_format ONNX,AIR,MINDIR --export_batch_size 1",
            "net.onnx net.air net.mindir",
        ),
    ],
)
def test_target_file(argv, name):
    from mindcv_hrnet.jobs.export import target_files

    assert " ".join(map(str, target_files(parse_config(argv.split())).values())) == name


def test_class_names_of_a_checkpoint_without_come_from_the_data(tmp_path, caplog):
    from mindcv_hrnet.jobs.export import find_class_names

    config = parse_config(["--ckpt_path", str(tmp_path / "a.ckpt"), "--data_dir", str(tmp_path)])
    assert find_class_names(config, 2) == [] and len(caplog.records) == 1
    for name in ("yak", "ant"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert find_class_names(config, 2) == ["ant", "yak"]
    with pytest.raises(CheckpointError) as error:
        find_class_names(config, 3)
    assert str(error.value) == (
        f"{tmp_path}/a.ckpt: has 3 classes, but 2 class names were found; pass the data_dir that it was trained on"
    )


def test_placeholder_leaves_open_what_the_metadata_leaves_open(tiny_mindir):
    from mindcv_hrnet.deploy.mindir import input_placeholder

    metadata = replace(tiny_mindir[2], image_resize=40)
    assert input_placeholder(metadata).shape == (-1, 3, 40, 40)
    assert input_placeholder(replace(metadata, batch_size=4, dynamic_size=True)).shape == (4, 3, -1, -1)


def test_any_folder_name_will_do(tiny_mindir, tmp_path):
    from mindcv_hrnet.deploy.mindir import load_mindir, write_mindir

    _, network, metadata = tiny_mindir
    path = tmp_path / "my c++ (ünï)" / "tiny.mindir"
    path.parent.mkdir()
    write_mindir(network, metadata, path)
    assert load_mindir(path)


def test_a_broken_graph_is_refused(tiny_mindir, tmp_path):
    """The outermost fields are whole and the checksum is right, so that only MindSpore can tell."""
    from mindcv_hrnet.deploy.container import seal
    from mindcv_hrnet.deploy.runner import load_model

    path, whole = tmp_path / "a.mindir", bytearray(tiny_mindir[0].read_bytes())
    middle = len(whole) // 2
    whole[middle - 2000 : middle + 2000] = b"\xff" * 4000
    path.write_bytes(whole)
    seal(path)
    with pytest.raises(CheckpointError, match=r"a\.mindir: cannot be read as MINDIR \(.+\); is it complete\?$"):
        load_model(path)
