"""Pickles with code in them: refused by name, and nothing of them runs."""

import io
import os
import pickle
import subprocess
import zipfile

import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights import read_weights
from mindcv_hrnet.weights.formats.pickle import PickleRefused, read_pickle
from mindcv_hrnet.weights.formats.pytorch import CONSTRUCTORS, LEGACY_START

UNUSED = "reading it would run code of the file's choice, so it was refused and nothing was run"

MENDED = "; if the file is yours, save its state_dict() alone"


class Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def load(data):
    return read_pickle(io.BytesIO(data), CONSTRUCTORS)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_plain_values(protocol):
    value = {"a": [1, -2, 3.5, None, True], "b": ("ü", (1,), (1, 2), (), {}), "c": 1 << 70, "d": [[], {"e": []}]}
    assert load(pickle.dumps(value, protocol)) == value


def test_shared_and_recursive_values():
    value = [1]
    loaded = load(pickle.dumps([value, value]))
    assert loaded[0] is loaded[1]
    value.append(value)
    loaded = load(pickle.dumps(value))
    assert loaded[1] is loaded


@pytest.mark.parametrize("wrapped", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, f"{os.system.__module__}.system"), (subprocess.call, "subprocess.call"), (eval, "builtins.eval")],
)
def test_a_checkpoint_with_code_in_it(tmp_path, wrapped, function, name):
    witness = tmp_path / "witness"
    argument = f"open({str(witness)!r}, 'w')" if function is eval else f"touch {witness}"
    payload = {"state_dict": {"conv1.weight": Runs(function, argument)}}
    path = tmp_path / "evil.pth"
    if wrapped == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", pickle.dumps(payload, 2, fix_imports=False))
        kind = "PyTorch file (zip)"
    else:
        rest = (
            pickle.dumps(1001, 2)
            + pickle.dumps({"little_endian": True}, 2)
            + pickle.dumps(payload, 2, fix_imports=False)
        )
        path.write_bytes(LEGACY_START + b"." + rest)
        kind = "PyTorch file (legacy)"
    with pytest.raises(CheckpointError) as error:
        read_weights(str(path))
    assert (
        str(error.value)
        == f"{path}: the {kind} asks for {name}, which is neither tensor nor container; {UNUSED}{MENDED}"
    )
    assert not witness.exists()


def test_a_bare_pickle_with_code_in_it(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Runs(os.mkdir, str(tmp_path / "made"))))
    with pytest.raises(CheckpointError, match=r"asks for posix\.mkdir, which is neither tensor nor container"):
        read_weights(str(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # a value is called, not a name
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "calls something that is neither tensor nor container"),
        # the state of an allowed constructor is set, which would change it for everyone
        (b"ccollections\nOrderedDict\n}b.", "sets the state of something that is no container"),
        (b"(S'x'\nios\nsystem\n.", "uses the pickle instruction INST"),
        (b"\x82\x01.", "uses the pickle instruction EXT1"),
        (b"K\x01K\x02a.", "fills something that is no container"),
    ],
)
def test_other_ways_to_power(data, message):
    with pytest.raises(PickleRefused, match=message):
        load(data)


def test_constructors_stay_as_they_are():
    before = dict(CONSTRUCTORS)
    with pytest.raises(PickleRefused):
        load(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb.")
    assert before == CONSTRUCTORS


def test_a_whole_network_is_refused(tmp_path):
    path = tmp_path / "network.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02X\x06\x00\x00\x00moduleq\x00\x85Q.")
    with pytest.raises(CheckpointError, match=r"holds a whole network with its source code; save its state_dict\(\)"):
        read_weights(str(path))


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    import numpy as np

    from mindcv_hrnet.weights.formats.pytorch import write_zip

    path = tmp_path / "far.pth"
    write_zip({"a.weight": np.zeros((4, 2), np.float32)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    wide = parts["archive/data.pkl"].replace(
        b"(J\x04\x00\x00\x00J\x02\x00\x00\x00t", b"(J\x05\x00\x00\x00J\x02\x00\x00\x00t"
    )
    assert wide != parts["archive/data.pkl"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "archive/data.pkl": wide}.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"\(a.weight reaches beyond its storage\)"):
        read_weights(str(path))
