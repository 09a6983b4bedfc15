"""Every kind of file gives the same weights; everything else gives one line, and nothing of it is used."""

import pickle
import struct
import zipfile

import numpy as np
import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights import count_classes, read_checkpoint, read_entries, read_weights, write_weights
from mindcv_hrnet.weights.formats.pytorch import LEGACY_START, write_zip


def refusal(path):
    with pytest.raises(CheckpointError) as error:
        read_weights(str(path))
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


def assert_equal(arrays, expected):
    assert list(arrays) == list(expected) or set(arrays) == set(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def save_ckpt(path, arrays, **scalars):
    """A checkpoint as MindSpore writes it."""
    import mindspore as ms

    entries = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    ms.save_checkpoint(entries, str(path), append_dict=scalars or None)
    return path


# --- what can be read ----------------------------------------------------------------------------------------------

FOLDED = "4 biases folded into the moving means behind them (downsamp_modules.0.0.bias"


@pytest.mark.parametrize(
    ("name", "kind", "first_remark"),
    [
        ("plain_zip", "PyTorch file (zip)", "PyTorch's names turned into MindCV's"),
        ("module_legacy", "PyTorch file (legacy)", "taken from 'model'"),
        (
            "training_zip",
            "PyTorch file (zip)",
            "taken from 'state_dict_ema', leaving epoch, arch, state_dict, optimizer, args, metric",
        ),
    ],
)
def test_files_of_pytorch(torch_file, tiny_arrays, tiny_state, name, kind, first_remark):
    weights = read_weights(str(torch_file(name)))
    assert_equal(weights.arrays, tiny_arrays)
    assert (weights.kind, weights.entries) == (kind, len(tiny_state))
    assert weights.remarks[0].startswith(first_remark)
    assert weights.remarks[-1].startswith(FOLDED)
    assert ("'module.' removed from 552 names".replace("552", str(len(tiny_state))) in weights.remarks) == (
        "module" in name
    )


def wrapped_file(path, state, wrapper, legacy):
    """A state dict below `wrapper` beside an epoch, in either format of PyTorch."""
    write_zip(state, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    inner = parts["archive/data.pkl"][2:-1]
    key = b"X" + struct.pack("<I", len(wrapper)) + wrapper.encode()
    content = b"\x80\x02}" + key + inner + b"sX\x05\x00\x00\x00epochK\x03s."
    if legacy:
        order = [str(number) for number in range(len(state))]
        head = [LEGACY_START + b".", *(pickle.dumps(value, 2) for value in (1001, {"little_endian": True}))]
        storages = [struct.pack("<q", array.size) + array.tobytes() for array in state.values()]
        content = content.replace(b"tQ", b"NtQ")  # here a storage says too whether it is a view of another one
        path.write_bytes(b"".join([*head, content, pickle.dumps(order, 2), *storages]))
        return
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "archive/data.pkl": content}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "state_dict", "model"])
def test_every_wrapper_in_both_formats(tmp_path, tiny_arrays, tiny_state, wrapper, prefix, legacy):
    path = tmp_path / "w.pth.tar"
    wrapped_file(path, {prefix + name: array for name, array in tiny_state.items()}, wrapper, legacy)
    weights = read_weights(str(path))
    assert_equal(weights.arrays, tiny_arrays)
    assert weights.kind == f"PyTorch file ({'legacy' if legacy else 'zip'})"
    assert weights.remarks[0] == f"taken from {wrapper!r}, leaving epoch"
    assert (f"'module.' removed from {len(tiny_state)} names" in weights.remarks) == bool(prefix)


@pytest.mark.parametrize("name", ["odd_zip", "odd_legacy"])
def test_dtypes_strides_and_shared_storages(torch_file, name):
    arrays = read_entries(str(torch_file(name)))
    base = np.arange(24, dtype=np.float32)
    expected: dict[str, np.ndarray] = {
        "half.weight": np.array([0.5, -1.5], np.float16),
        "bfloat.weight": np.array([[0.15625, -3.0]], np.float32),
        "double.weight": np.array([1e-3]),
        "transposed.weight": base.reshape(4, 6).T,
        "slice.weight": base[5:11:2],
        "parameter.weight": np.ones((2, 3), np.float32),
        "scalar.weight": np.array(2.5, np.float32),
        "empty.weight": np.zeros((0, 4), np.float32),
    }
    assert list(arrays) == list(expected)
    for key, value in expected.items():
        assert arrays[key].dtype == value.dtype and arrays[key].shape == value.shape
        np.testing.assert_array_equal(arrays[key], value)


def test_checkpoint_of_mindspore(tmp_path, tiny_arrays):
    weights = read_weights(str(save_ckpt(tmp_path / "a.ckpt", tiny_arrays)))
    assert_equal(weights.arrays, tiny_arrays)
    assert (weights.kind, weights.remarks) == ("MindSpore checkpoint", ())
    assert count_classes(weights.arrays, "a.ckpt") == 3


def test_checkpoint_with_its_checksum(tmp_path, tiny_arrays):
    import mindspore as ms

    path = tmp_path / "crc.ckpt"
    entries = [{"name": name, "data": ms.Tensor(array)} for name, array in tiny_arrays.items()]
    ms.save_checkpoint(entries, str(path), crc_check=True)
    assert_equal(read_checkpoint(str(path)), tiny_arrays)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert refusal(path) == (
        "cannot be read as a MindSpore checkpoint (its checksum differs from its content); is it complete?"
    )


def test_training_checkpoint_leaves_its_optimizer_out(tmp_path, tiny_arrays):
    slots = {f"{kind}.{name}": array + 1 for kind in ("adam_m", "adam_v") for name, array in tiny_arrays.items()}
    scalars = {name: np.array(3, np.float32) for name in ("beta1_power", "global_step", "learning_rate")}
    weights = read_weights(str(save_ckpt(tmp_path / "t.ckpt", {**slots, **tiny_arrays, **scalars}, epoch_num=4)))
    assert_equal(weights.arrays, tiny_arrays)
    count = 2 * len(tiny_arrays) + 4
    assert weights.remarks == (
        f"{count} entries of the training left out: adam_m.* ({len(tiny_arrays)}), adam_v.* ({len(tiny_arrays)}), "
        "beta1_power, global_step, learning_rate, epoch_num",
    )


def test_the_average_of_a_training_checkpoint_is_taken(tmp_path, tiny_arrays):
    average = {f"ema.{name}": array for name, array in tiny_arrays.items()}
    plain = {name: array + 1 for name, array in tiny_arrays.items()}
    weights = read_weights(str(save_ckpt(tmp_path / "e.ckpt", {**plain, **average})))
    assert_equal(weights.arrays, tiny_arrays)
    assert weights.remarks == ("the moving average 'ema.*' taken instead of the weights themselves",)


def test_training_state_is_read_as_it_is(tmp_path):
    state = {"conv1.weight": np.ones((2, 2), np.float32), "adam_m.conv1.weight": np.zeros((2, 2), np.float32)}
    state["global_step"] = np.array([5], np.int32)
    entries = read_entries(str(save_ckpt(tmp_path / "s.ckpt", state)))
    assert {name: (a.dtype, a.tolist()) for name, a in entries.items()} == {
        name: (a.dtype, a.tolist()) for name, a in state.items()
    }


@pytest.mark.parametrize("names", ["pytorch", "mindcv"])
def test_safetensors_of_the_library(tmp_path, tiny_arrays, tiny_state, names):
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    save_file(tiny_state if names == "pytorch" else tiny_arrays, path)
    weights = read_weights(str(path))
    assert_equal(weights.arrays, tiny_arrays)
    assert weights.kind == "safetensors file"


def test_safetensors_in_bfloat16(tmp_path):
    header = b'{"a.weight":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3E20, 0xC040))
    assert read_entries(str(path))["a.weight"].tolist() == [0.15625, -3.0]


def test_the_suffix_does_not_matter(tmp_path, torch_file, tiny_arrays):
    path = tmp_path / "weights"
    path.write_bytes(torch_file("module_legacy").read_bytes())
    assert_equal(read_checkpoint(str(path)), tiny_arrays)


# --- what cannot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; fetch or copy it again"),
        (b"\n<!DOCTYPE html><html>404", "is a web page (HTML or XML), not a checkpoint; fetch the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "is a Git LFS pointer, not the file it points to; fetch it with 'git lfs pull'",
        ),
        (b"\x1f\x8b\x08\x00", "is an archive, not a checkpoint; unpack it first"),
        (
            b"hello, world",
            "cannot be read as a MindSpore checkpoint (it does not have the structure of a checkpoint); "
            "is it complete?",
        ),
        (
            pickle.dumps({"a": 1}),
            "cannot be read as a PyTorch file (legacy) (a pickle, but not one that torch.save wrote); is it complete?",
        ),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert refusal(path) == message


def test_missing_file_folder_and_no_name(tmp_path):
    assert refusal(tmp_path / "none.ckpt") == "checkpoint not found; check the path"
    assert refusal(tmp_path).startswith("is a folder; pass a checkpoint file")
    assert refusal("") == "ckpt_path is empty; pass --ckpt_path FILE"


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refusal(path) == (
        "cannot be read as a PyTorch file (zip) (a zip file, but not one that torch.save wrote: it holds no data.pkl); "
        "is it complete?"
    )


def test_weights_under_another_name(tmp_path):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({"net": {"conv1.weight": 1}, "epoch": 3}, 2))
    assert refusal(path) == (
        "the PyTorch file (zip) holds no tensors by name, nor such under state_dict_ema, model_ema, state_dict, model, "
        "but net, epoch; save a state_dict()"
    )


@pytest.fixture(params=["ckpt", "safetensors", "plain_zip", "module_legacy"])
def whole_file(request, tmp_path, torch_file, tiny_arrays):
    """A good file of each format."""
    path = tmp_path / f"whole.{request.param}"
    if request.param in ("ckpt", "safetensors"):
        write_weights(tiny_arrays, path)
    else:
        path.write_bytes(torch_file(request.param).read_bytes())
    return path


def test_truncated_anywhere(whole_file, tiny_arrays):
    """One line, or (cut between two entries of a .ckpt) fewer weights, which never fit a network."""
    content = whole_file.read_bytes()
    for cut in np.linspace(1, len(content) - 1, 16, dtype=int):
        whole_file.write_bytes(content[:cut])
        try:
            assert len(read_weights(str(whole_file)).arrays) < len(tiny_arrays)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_damaged_anywhere(whole_file):
    """Whatever byte is wrong, the reader gives weights or one line, never another exception."""
    content = whole_file.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(24):
        damaged = bytearray(content)
        damaged[generator.integers(0, len(content))] = generator.integers(0, 256)
        whole_file.write_bytes(damaged)
        try:
            read_weights(str(whole_file))
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, tiny_arrays, value):
    arrays = {**tiny_arrays, "bn1.gamma": np.array([1, value], np.float32)}
    path = tmp_path / "nan.ckpt"
    write_weights(arrays, path)
    assert refusal(path) == "bn1.gamma holds values that are not finite; use an earlier checkpoint"


def test_weights_that_are_integers(tmp_path, tiny_arrays):
    path = tmp_path / "int.ckpt"
    write_weights({**tiny_arrays, "bn1.gamma": np.array([1, 1], np.int32)}, path)
    assert refusal(path) == "bn1.gamma holds int32 values; weights are floats"


def test_no_classifier():
    with pytest.raises(CheckpointError, match=r"^x: has no classifier.weight; it is not a checkpoint of an HRNet"):
        count_classes({}, "x")
