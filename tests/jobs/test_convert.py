"""`mindcv-hrnet convert`: both directions, what it prints, what it refuses."""

import numpy as np
import pytest

from mindcv_hrnet.cli import main
from mindcv_hrnet.weights import read_checkpoint, read_entries, write_weights


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, weights of hrnet_w18_small with 7 classes), in a file small.ckpt."""
    from mindspore.nn.utils import no_init_parameters

    from mindcv_hrnet import create_model

    with no_init_parameters():
        network = create_model("hrnet_w18_small", num_classes=7)
    generator = np.random.default_rng(0)
    arrays = {n: generator.random(p.shape, np.float32) for n, p in network.parameters_dict().items()}
    folder = tmp_path_factory.mktemp("convert")
    write_weights(arrays, folder / "small.ckpt")
    return folder, arrays


def convert(folder, *argv):
    return main(["convert", *(str(folder / name) if "." in name else name for name in argv)])


@pytest.mark.slow
def test_there_and_back(small, capsys):
    folder, arrays = small
    assert convert(folder, "small.ckpt", "small.pth") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"read     {folder}/small.ckpt: MindSpore checkpoint, 457 entries"
    assert out[1] == "network  hrnet_w18_small, 7 classes, 3 image channels, 457 tensors"
    assert out[2] == f"written  {folder}/small.pth: PyTorch file (zip), PyTorch's names, 552 entries, 44.9 MB"
    assert out[3] == "         4 biases of zero and 91 counters added, as PyTorch has them"

    assert convert(folder, "small.pth", "small.safetensors", "--names", "mindcv") == 0
    assert "         91 counters left out (num_batches_tracked)" in capsys.readouterr().out
    assert set(read_entries(str(folder / "small.safetensors"))) == set(arrays)
    assert convert(folder, "small.safetensors", "back.ckpt", "--list") == 0
    assert "         layer1.0.bn1.gamma = layer1.0.bn1.weight in PyTorch\n" in capsys.readouterr().out
    assert (folder / "back.ckpt").read_bytes() == (folder / "small.ckpt").read_bytes()
    back = read_checkpoint(str(folder / "back.ckpt"))
    assert all(back[name].tobytes() == array.tobytes() for name, array in arrays.items())


def refusal(capsys, folder, *argv):
    before = sorted(folder.iterdir())
    assert convert(folder, *argv) != 0
    captured = capsys.readouterr()
    assert sorted(folder.iterdir()) == before
    assert captured.err.count("\n") == 1
    return captured.err.rstrip().replace(f"{folder}/", "")


def test_refusals(small, capsys):
    folder, arrays = small
    write_weights({"fc.weight": np.zeros((2, 2), np.float32)}, folder / "resnet.pth")
    write_weights({n: a for n, a in arrays.items() if n != "bn1.beta"}, folder / "part.ckpt")
    assert refusal(capsys, folder, "resnet.pth", "a.ckpt") == (
        "error: resnet.pth: holds no HRNet classifier; its 1 weights are called fc.weight, ..."
    )
    assert refusal(capsys, folder, "part.ckpt", "a.pth") == (
        "error: part.ckpt: does not fit the network, 1 missing (bn1.beta); is it incomplete, or of another network?"
    )
    assert refusal(capsys, folder, "none.ckpt", "a.pth").startswith("error: none.ckpt: checkpoint not found")
    assert refusal(capsys, folder, "small.ckpt", "small.ckpt") == (
        "error: small.ckpt: is the file to read; name another one to write"
    )
    assert refusal(capsys, folder, "small.ckpt", "a.onnx") == (
        "error: a.onnx: the suffix says what to write; choices: .ckpt, .pth, .pt, .tar, .safetensors"
    )
    assert refusal(capsys, folder, "small.ckpt", "a.pth", "--names", "mindcv") == (
        "error: a.pth: PyTorch file (zip)s have pytorch names; leave out --names mindcv"
    )
    assert refusal(
        capsys, folder, "small.ckpt", "gone/a.pth"
    ) == "error: gone: folder not found; make it first".replace("gone", f"{folder}/gone").replace(f"{folder}/", "")
