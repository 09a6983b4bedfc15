"""What the tests of weights share: the golden PyTorch files, and the weights that they hold."""

import gzip

import pytest
from repository import GOLDEN


@pytest.fixture(scope="session")
def torch_file(tmp_path_factory):
    """A function name -> path of a file that PyTorch saved (see scripts/make_golden_checkpoints.py)."""
    folder = tmp_path_factory.mktemp("torch")

    def unpack(name):
        path = folder / f"{name}.pth"
        if not path.exists():
            path.write_bytes(gzip.decompress((GOLDEN / "torch" / f"{name}.pth.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture(scope="session")
def tiny_state():
    """The state dict in the golden files."""
    from states import pytorch_state

    return pytorch_state()


@pytest.fixture(scope="session")
def tiny_arrays(tiny_state):
    """The same network by MindCV's names, worked out here by hand and not by the code under test."""
    arrays = {}
    for name, array in tiny_state.items():
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked" or name in HEAD_BIASES:
            continue
        if f"{owner}.running_mean" in tiny_state:
            kind = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}[
                kind
            ]
        if f"{owner[:-1]}0.bias" in HEAD_BIASES and kind == "moving_mean":
            array = array - tiny_state[f"{owner[:-1]}0.bias"]
        owner = owner.replace("downsamp_modules", "downsample_modules").replace(".downsample.", ".down_sample.")
        arrays[f"{owner}.{kind}"] = array
    return arrays


HEAD_BIASES = (*(f"downsamp_modules.{i}.0.bias" for i in range(3)), "final_layer.0.bias")


@pytest.fixture
def tiny_classifier():
    """A function (num_classes, in_channels) -> the tiny network, in PyNative mode."""
    import mindspore as ms
    from states import CLASSES, TINY

    from mindcv_hrnet.models import HRNet

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    return lambda num_classes=CLASSES, in_channels=3: HRNet(TINY, num_classes, in_channels)
