"""Foreign and damaged checkpoints: one exact line each, and a network that is as it was."""

import numpy as np
import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights import count_classes, load_weights, read_checkpoint


def save(network, path, **changes):
    """Write the network's weights, some of them replaced, or left out where the change is None."""
    import mindspore as ms

    values = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()} | changes
    entries = [{"name": name, "data": ms.Tensor(value)} for name, value in values.items() if value is not None]
    ms.save_checkpoint(entries, str(path))
    return path


def values_of(network):
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def refusal(network, path):
    """The message, after proof that nothing was changed."""
    before = values_of(network)
    with pytest.raises(CheckpointError) as error:
        load_weights(network, str(path))
    after = values_of(network)
    assert all((before[name] == after[name]).all() for name in before)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_round_trip(tiny_network, tmp_path):
    first, second = tiny_network(), tiny_network()
    path = save(first, tmp_path / "a.ckpt")
    assert any((first.parameters_dict()[name].asnumpy() != value).any() for name, value in values_of(second).items())
    load_weights(second, str(path))
    theirs = values_of(second)
    assert all((value == theirs[name]).all() for name, value in values_of(first).items())
    assert count_classes(read_checkpoint(str(path)), str(path)) == 5


def test_half_precision_weights_become_float32(tiny_network, tmp_path):
    import mindspore as ms

    network = tiny_network()
    path = save(network, tmp_path / "a.ckpt", **{"conv1.weight": network.conv1.weight.asnumpy().astype(np.float16)})
    load_weights(network, str(path))
    assert network.conv1.weight.dtype == ms.float32


def test_missing_folder_and_damaged_zip(tiny_network, tmp_path):
    network = tiny_network()
    (tmp_path / "f.ckpt").mkdir()
    (tmp_path / "a.pth").write_bytes(b"PK")
    assert refusal(network, tmp_path / "no.ckpt").startswith(f"{tmp_path}/no.ckpt: checkpoint not found; ")
    assert refusal(network, "").startswith("ckpt_path is empty; ")
    assert refusal(network, tmp_path / "f.ckpt") == (
        f"{tmp_path}/f.ckpt: is a folder; pass a checkpoint file, such as {tmp_path}/f.ckpt/NAME-best.ckpt"
    )
    assert refusal(network, tmp_path / "a.pth").startswith(
        f"{tmp_path}/a.pth: cannot be read as a PyTorch file (zip) ("
    )


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_damaged_file(tiny_network, tmp_path, capfd, damage):
    network = tiny_network()
    whole = save(network, tmp_path / "whole.ckpt").read_bytes()
    path = tmp_path / "a.ckpt"
    path.write_bytes({"garbage": b"garbage" * 100, "truncated": whole[: len(whole) // 2]}[damage])
    message = refusal(network, path)
    assert message.startswith(f"{path}: cannot be read as a MindSpore checkpoint (")
    assert message.endswith("); is it complete?")
    # MindSpore's own words would drown the one line
    assert capfd.readouterr() == ("", "")


def test_other_variant(tiny_network, tmp_path):
    path = save(tiny_network(width=3), tmp_path / "a.ckpt")
    message = refusal(tiny_network(), path)
    assert message.startswith(f"{path}: does not fit the network, ")
    assert " of another shape (transition1.0.0.weight is 3x8x3x3, the network has 2x8x3x3, " in message
    assert message.endswith(", ...); it is of width 3, the network of width 2")


def test_missing_and_unknown_weights_are_listed(tiny_network, tmp_path):
    network = tiny_network()
    changes = {"bn1.gamma": None, "extra": np.zeros(2, np.float32), "conv1.weight": np.zeros((1, 2), np.float32)}
    path = save(network, tmp_path / "a.ckpt", **changes)
    assert refusal(network, path) == (
        f"{path}: does not fit the network, 1 missing (bn1.gamma); 1 unknown (extra 2); 1 of another shape "
        "(conv1.weight is 1x2, the network has 4x3x3x3); is it incomplete, or of another network?"
    )


def test_other_class_count(tiny_network, tmp_path):
    path = save(tiny_network(7), tmp_path / "a.ckpt")
    assert refusal(tiny_network(), path) == f"{path}: has 7 classes, the network 5; pass --num_classes 7"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(tiny_network, tmp_path, value):
    network = tiny_network()
    changed = network.conv1.weight.asnumpy().copy()
    changed[0, 0, 0, 0] = value
    path = save(network, tmp_path / "a.ckpt", **{"conv1.weight": changed})
    assert refusal(network, path).startswith(f"{path}: conv1.weight holds values that are not finite; ")


def test_a_checkpoint_of_something_else_has_no_class_count(tmp_path):
    with pytest.raises(CheckpointError) as error:
        count_classes({}, "a.ckpt")
    assert str(error.value) == "a.ckpt: has no classifier.weight; it is not a checkpoint of an HRNet classifier"
