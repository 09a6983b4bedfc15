"""What is written is what was given, for us and for the libraries of the formats; forth and back no bit changes."""

import pickletools
import zipfile

import numpy as np
import pytest

from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.weights import read_checkpoint, read_weights, write_weights
from mindcv_hrnet.weights.naming import to_network, to_pytorch, to_pytorch_name


@pytest.mark.parametrize("name", ["w.ckpt", "w.pth", "w.pth.tar", "w.pt", "w.safetensors"])
def test_round_trip_is_bit_identical(tmp_path, tiny_arrays, name):
    path = tmp_path / name
    write_weights(tiny_arrays, path)
    arrays = read_checkpoint(str(path))
    assert list(arrays) == list(tiny_arrays) or set(arrays) == set(tiny_arrays)
    assert all(arrays[key].tobytes() == tiny_arrays[key].tobytes() for key in tiny_arrays)
    first = path.read_bytes()
    write_weights(tiny_arrays, path)
    assert path.read_bytes() == first


def test_pytorch_gets_its_names_order_biases_and_counters(tiny_arrays, tiny_state):
    state = to_pytorch(tiny_arrays)
    assert list(state) == list(tiny_state)
    for name, array in tiny_state.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape), name
    zeros = [name for name, array in state.items() if array.dtype == np.float32 and not array.any()]
    assert [name for name in zeros if name.endswith("0.bias")] == [
        *(f"downsamp_modules.{i}.0.bias" for i in range(3)),
        "final_layer.0.bias",
    ]
    again, _ = to_network(state)
    assert all(again[name].tobytes() == array.tobytes() for name, array in tiny_arrays.items())


def test_one_name():
    assert to_pytorch_name("layer1.0.down_sample.1.gamma") == "layer1.0.downsample.1.weight"
    assert to_pytorch_name("downsample_modules.2.1.moving_variance") == "downsamp_modules.2.1.running_var"
    assert to_pytorch_name("stage3.2.fuse_layers.0.1.0.weight") == "stage3.2.fuse_layers.0.1.0.weight"


@pytest.mark.parametrize("name", ["w.ckpt", "w.pth", "w.safetensors"])
def test_class_names_travel_in_the_file(tmp_path, tiny_arrays, name):
    path, names = tmp_path / name, ("ant", "bée", "line\nbreak", "蜂")
    write_weights(tiny_arrays, path, class_names=names)
    weights = read_weights(str(path))
    assert weights.class_names == names and set(weights.arrays) == set(tiny_arrays)
    assert not any("text" in remark for remark in weights.remarks)
    write_weights(tiny_arrays, path)
    assert read_weights(str(path)).class_names == ()


@pytest.mark.parametrize(("name", "kind"), [("w.ckpt", "ckpt"), ("w.safetensors", "safetensors")])
def test_mindspore_reads_the_names_and_verifies_the_checksum(tmp_path, tiny_arrays, name, kind):
    import mindspore as ms

    path = tmp_path / name
    write_weights(tiny_arrays, path, "mindcv", class_names=["ant", "bée"])
    loaded = ms.load_checkpoint(str(path), crc_check=True, format=kind)
    assert loaded.pop("class_names", '["ant", "bée"]') == '["ant", "bée"]' and set(loaded) == set(tiny_arrays)
    data = bytearray(path.read_bytes())
    position = data.find(tiny_arrays["conv1.weight"].tobytes())
    data[position + 1] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"crc check|Failed to read the checkpoint"):
        ms.load_checkpoint(str(path), crc_check=True, format=kind)
    with pytest.raises(CheckpointError, match=r"\(its checksum differs from its content\)"):
        read_checkpoint(str(path))


def test_ckpt_is_what_mindspore_reads(tmp_path, tiny_arrays):
    import mindspore as ms

    path = tmp_path / "w.ckpt"
    scalar = np.array(2.5, np.float32)
    write_weights({**tiny_arrays, "a.scalar": scalar, "a.count": np.array([3], np.int32)}, path)
    loaded = ms.load_checkpoint(str(path))
    assert list(loaded) == [*tiny_arrays, "a.scalar", "a.count"]
    for name, array in tiny_arrays.items():
        assert loaded[name].asnumpy().dtype == np.float32
        np.testing.assert_array_equal(loaded[name].asnumpy(), array)
    assert loaded["a.scalar"].shape == () and loaded["a.count"].asnumpy().tolist() == [3]


@pytest.mark.parametrize("names", ["", "mindcv"])
def test_safetensors_is_what_the_library_reads(tmp_path, tiny_arrays, names):
    from safetensors import safe_open

    path = tmp_path / "w.safetensors"
    expected = write_weights(tiny_arrays, path, names, ["ant", "bée"])
    assert ("bn1.gamma" in expected) == (names == "mindcv")
    with safe_open(path, "np") as file:
        assert {key: file.metadata()[key] for key in ("format", "class_names")} == {
            "format": "np" if names else "pt",
            "class_names": '["ant", "bée"]',
        }
        assert set(file.keys()) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


# Opcodes and names that torch.load(weights_only=True) admits and torch.save writes
OPCODES = {
    *("PROTO", "GLOBAL", "EMPTY_TUPLE", "REDUCE", "MARK", "BINUNICODE", "BININT", "TUPLE", "BINPERSID", "NEWFALSE"),
    *("SETITEMS", "STOP"),
}
NAMES = {
    *("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch LongStorage"),
}


def test_pth_is_made_of_what_torch_load_admits(tmp_path, tiny_arrays, torch_file):
    path = tmp_path / "w.pth"
    state = write_weights(tiny_arrays, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(torch_file("plain_zip")) as theirs:
        assert archive.testzip() is None
        ours = {name.partition("/")[2] for name in archive.namelist()}
        assert ours == {"data.pkl", "byteorder", "version", *(f"data/{i}" for i in range(len(state)))}
        wanted = {name.partition("/")[2] for name in theirs.namelist()}
        assert ours <= wanted and all(name.startswith(".") for name in wanted - ours)
        operations = list(pickletools.genops(archive.read("archive/data.pkl")))
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    assert {opcode.name for opcode, _, _ in operations} == OPCODES
    assert {argument for opcode, argument, _ in operations if opcode.name == "GLOBAL"} == NAMES


def test_unknown_suffix(tmp_path, tiny_arrays):
    with pytest.raises(
        UserError, match=r"w.onnx: the suffix says what to write; choices: .ckpt, .pth, .pt, .tar, .safe"
    ):
        write_weights(tiny_arrays, tmp_path / "w.onnx")


def test_floats_of_other_widths_become_float32(tmp_path):
    arrays, _ = to_network({"a.weight": np.array([0.5], np.float16), "b.weight": np.array([0.25])})
    assert {name: (a.dtype, a.item()) for name, a in arrays.items()} == {
        "a.weight": (np.float32, 0.5),
        "b.weight": (np.float32, 0.25),
    }
