"""Exported files: any batch or one, what travels with them, and files that are not ours."""

import json
import re
from dataclasses import asdict, replace

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
    write_mindir(network, metadata, 2, path)
    return path


def test_any_batch_gives_the_logits_of_the_network(tiny_mindir):
    import mindspore as ms

    from mindcv_hrnet.deploy.mindir import load_mindir

    path, network, metadata = tiny_mindir
    assert input_shape(path) == [-1, 3, 32, 32]
    graph, read = load_mindir(path)
    assert read == metadata
    for batch in (1, 3, 7):
        expected = network(ms.Tensor(images(batch))).asnumpy()
        assert expected.shape == (batch, 5) and expected.std() > 1e-3
        np.testing.assert_allclose(graph(ms.Tensor(images(batch))).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_fixed_batch(tiny_mindir, fixed):
    import mindspore as ms

    from mindcv_hrnet.deploy.mindir import load_mindir

    assert input_shape(fixed) == [2, 3, 32, 32]
    graph, metadata = load_mindir(fixed, 2)
    assert metadata == tiny_mindir[2]
    expected = tiny_mindir[1](ms.Tensor(images(2))).asnumpy()
    np.testing.assert_allclose(graph(ms.Tensor(images(2))).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_export_compares_what_it_wrote(tiny_mindir, fixed, tiny_network):
    import mindspore as ms

    from mindcv_hrnet.jobs.export import compare

    _, network, metadata = tiny_mindir
    assert compare(network, fixed, metadata, 2) < 1e-5
    # another network's file must not pass
    ms.set_seed(1)
    assert compare(tiny_network().set_train(False), fixed, metadata, 2) > 1e-2


def test_metadata_is_that_of_the_recipe():
    from mindcv_hrnet.deploy.mindir import Metadata

    argv = "--model hrnet_w18 --in_channels 1 --image_resize 64 --crop_pct 1.0 --interpolation bicubic --mean 1 --std 2"
    metadata = Metadata.of(parse_config(argv.split()), ["a", "b"])
    assert asdict(metadata) == {
        "model": "hrnet_w18",
        "in_channels": 1,
        "image_resize": 64,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": [1.0],
        "std": [2.0],
        "class_names": ["a", "b"],
    }
    assert Metadata(**json.loads(json.dumps(asdict(metadata)))) == metadata


# The words of the protobuf library are its own, so they are not pinned
UNREADABLE = r"cannot be read as MINDIR \(.+\); is it complete\?"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "no such file; pass a .mindir file that export.py wrote"),
        ("truncated", UNREADABLE),
        ("garbage", UNREADABLE),
        ("empty", "holds no labels and preprocessing; export it again with export.py"),
    ],
)
def test_damaged_file(tiny_mindir, tmp_path, capfd, damage, reason):
    from mindcv_hrnet.deploy.mindir import load_mindir

    path, whole = tmp_path / "a.mindir", tiny_mindir[0].read_bytes()
    contents = {"truncated": whole[: len(whole) // 2], "garbage": b"garbage" * 100, "empty": b""}
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(CheckpointError) as error:
        load_mindir(path)
    assert re.fullmatch(f"{re.escape(str(path))}: {reason}", str(error.value))
    # MindSpore's own words would drown the one line
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("note", [None, '{"model": "tiny"}', "not JSON"], ids=["none", "few keys", "no JSON"])
def test_file_of_another_program(tmp_path, note):
    import mindspore as ms
    from mindspore import nn

    from mindcv_hrnet.deploy.mindir import METADATA_KEY, load_mindir

    def attach(model):
        if note is not None:
            model.user_info[METADATA_KEY] = note

    path = tmp_path / "other.mindir"
    example = ms.Tensor(np.zeros((1, 4)), ms.float32)
    ms.export(nn.ReLU(), example, file_name=str(path), file_format="MINDIR", custom_func=attach)
    with pytest.raises(CheckpointError) as error:
        load_mindir(path)
    reason = "was written by another version" if note else "holds no labels and preprocessing"
    assert str(error.value) == f"{path}: {reason}; export it again with export.py"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ("--ckpt_path run/hrnet_w32-best.ckpt", "run/hrnet_w32.mindir"),
        ("--ckpt_path run/a.ckpt --file_name out/net", "out/net.mindir"),
        ("--ckpt_path run/a.ckpt --file_name out/net.v2", "out/net.v2.mindir"),
        ("--ckpt_path run/a.ckpt --file_name net.mindir", "net.mindir"),
    ],
)
def test_target_file(argv, name):
    from mindcv_hrnet.jobs.export import target_file

    assert str(target_file(parse_config(argv.split()))) == name


def test_class_names_come_from_the_run_then_from_the_data(tmp_path, caplog):
    from mindcv_hrnet.jobs.export import find_class_names
    from mindcv_hrnet.runtime.files import write_json

    config = parse_config(["--ckpt_path", str(tmp_path / "a.ckpt"), "--data_dir", str(tmp_path)])
    assert find_class_names(config, 2) == [] and len(caplog.records) == 1
    for name in ("yak", "ant"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert find_class_names(config, 2) == ["ant", "yak"]
    write_json(
        tmp_path / "manifest.json",
        {"model": "hrnet_w32", "class_names": ["one", "two"], "checkpoints": [], "best": None, "state": ""},
    )
    assert find_class_names(config, 2) == ["one", "two"]
    with pytest.raises(CheckpointError) as error:
        find_class_names(config, 3)
    assert str(error.value) == (
        f"{tmp_path}/a.ckpt: has 3 classes, but 2 class names were found; pass the data_dir that it was trained on"
    )


def test_placeholder_leaves_the_batch_open(tiny_mindir):
    from mindcv_hrnet.deploy.mindir import input_placeholder

    metadata = replace(tiny_mindir[2], image_resize=40)
    assert input_placeholder(metadata, 0).shape == (-1, 3, 40, 40)
    assert input_placeholder(metadata, 4).shape == (4, 3, 40, 40)


def test_any_folder_name_will_do(tiny_mindir, tmp_path):
    from mindcv_hrnet.deploy.mindir import load_mindir, write_mindir

    _, network, metadata = tiny_mindir
    path = tmp_path / "my c++ (ünï)" / "tiny.mindir"
    path.parent.mkdir()
    write_mindir(network, metadata, 2, path)
    assert load_mindir(path, 2)[1] == metadata
