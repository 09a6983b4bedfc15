"""Which of the two formats a file is, and its notes, from the file's bytes alone."""

import re

import numpy as np
import pytest

from mindcv_hrnet.deploy.container import read_container
from mindcv_hrnet.deploy.metadata import KEY
from mindcv_hrnet.errors import CheckpointError


def test_mindir(tiny_mindir):
    path, _, metadata = tiny_mindir
    assert read_container(path) == ("MINDIR", metadata)


def refusal(path):
    with pytest.raises(CheckpointError) as error:
        read_container(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_what_is_no_file(tmp_path):
    assert refusal(tmp_path / "no.onnx") == "no such file; pass a .mindir or .onnx file that export.py wrote"
    assert refusal(tmp_path) == "is a folder, not a model file; pass a .mindir or .onnx file"


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"\x89PNG\r\n", b"PK\x03\x04"], ids=str)
def test_other_files(tmp_path, content):
    path = tmp_path / "a.mindir"
    path.write_bytes(content)
    words = "is no model file that export.py wrote (MINDIR or ONNX); export a checkpoint with export.py"
    assert refusal(path) == words


def test_cut_anywhere_a_file_is_called_so(tiny_mindir, tmp_path):
    whole, path = tiny_mindir[0].read_bytes(), tmp_path / "a.mindir"
    notes = whole.index(KEY.encode())
    for end in (1, 2, 20, len(whole) // 2, notes - 1, notes + 5, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert refusal(path) in (
            "is truncated or damaged; copy or export it again",
            "holds no labels and preprocessing; export it again with export.py",  # cut between two fields
        )
    path.write_bytes(b"\x0a" + b"\xff" * 40)
    assert refusal(path) == "is truncated or damaged; copy or export it again"


def test_file_of_another_program(tmp_path):
    import mindspore as ms
    from mindspore import nn

    path = tmp_path / "other.mindir"
    example = ms.Tensor(np.zeros((1, 4)), ms.float32)
    ms.export(nn.ReLU(), example, file_name=str(path), file_format="MINDIR")
    assert re.fullmatch("holds no labels and preprocessing; export it again with export.py", refusal(path))


def test_any_damage_is_seen_by_the_checksum(tiny_mindir, tmp_path):
    whole, path = tiny_mindir[0].read_bytes(), tmp_path / "a.mindir"
    for place in np.linspace(len(whole) // 100, len(whole) - 60, 40, dtype=int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert refusal(path) in (
            "its checksum differs from its content; copy or export it again",
            "is truncated or damaged; copy or export it again",
        )
    # appended bytes are no part of what was exported
    path.write_bytes(whole + whole[-32:])
    assert refusal(path).startswith("its checksum differs")
    # files of before there was one
    path.write_bytes(whole[: whole.rindex(b"\x72\x1e\x0a\x12mindcv_hrnet_crc32")])
    assert read_container(path) == ("MINDIR", tiny_mindir[2])
