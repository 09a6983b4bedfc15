"""The hub, with a stand-in for its library: what is asked of it, and what is handed to it."""

import json
import sys
import types
from typing import Any

import pytest

from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.weights import hub, read_checkpoint, write_weights
from mindcv_hrnet.weights.pretrained import fetch


class EntryNotFoundError(Exception):
    pass


@pytest.fixture
def library(monkeypatch, tmp_path):
    """A hub with one repository, `me/net`, whose files lie in a folder."""
    fake: Any = types.ModuleType("huggingface_hub")
    fake.files, fake.asked, fake.pushed = tmp_path / "hub", [], {}
    fake.files.mkdir()

    def hf_hub_download(repo_id, filename, revision=None):
        fake.asked.append((repo_id, filename, revision))
        if not (fake.files / filename).exists():
            raise EntryNotFoundError(f"404: {filename}\nsecond line")
        return str(fake.files / filename)

    def upload_folder(repo_id, folder_path, commit_message):
        from pathlib import Path

        fake.pushed[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"https://hub/{repo_id}/commit/1 {commit_message}"

    fake.hf_hub_download, fake.upload_folder = hf_hub_download, upload_folder
    fake.create_repo = lambda repository, private, exist_ok: fake.asked.append((repository, private, exist_ok))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_load(library, tiny_arrays):
    write_weights(tiny_arrays, library.files / "model.safetensors")
    path = fetch("hf://me/net")
    assert set(read_checkpoint(str(path))) == set(tiny_arrays)
    assert fetch("hf://me/net@v2/model.safetensors") == path
    assert library.asked == [("me/net", "model.safetensors", None), ("me/net", "model.safetensors", "v2")]


def test_load_another_kind_of_file(library, tiny_arrays):
    write_weights(tiny_arrays, library.files / "model.ckpt")
    assert fetch("hf://me/net").name == "model.ckpt"
    assert [name for _, name, _ in library.asked] == ["model.safetensors", "pytorch_model.bin", "model.ckpt"]


def test_what_is_not_there(library):
    with pytest.raises(CheckpointError) as error:
        fetch("hf://me/net/none.pth")
    assert str(error.value) == "hf://me/net/none.pth: none.pth cannot be fetched from the hub (404: none.pth)"


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"^the Hugging Face hub needs its library: pip install 'mindcv-hrnet\[hub\]'$"):
        fetch("hf://me/net")


def test_push(library, tmp_path, tiny_arrays, tiny_state):
    from safetensors.numpy import load

    write_weights(tiny_arrays, tmp_path / "own.ckpt")
    names = ["ant", "bée", "cat"]
    address = hub.push(
        str(tmp_path / "own.ckpt"),
        "me/net",
        "hrnet_w32",
        {"top-1, insects": "98.6 %"},
        "apache-2.0",
        names,
        private=True,
    )
    assert address == "https://hub/me/net/commit/1 Weights of hrnet_w32"
    assert library.asked == [("me/net", True, True)]
    files = library.pushed["me/net"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert set(load(files["model.safetensors"])) == set(tiny_state)
    settings = json.loads(files["config.json"])
    assert (settings["architecture"], settings["num_classes"], settings["label_names"]) == ("hrnet_w32", 3, names)
    card = files["README.md"].decode()
    header = card.split("---\n")[1]
    assert "license: apache-2.0\n" in header and "pipeline_tag: image-classification\n" in header
    assert "| top-1, insects | 98.6 % |" in card
    assert 'create_model("hrnet_w32", num_classes=3, in_channels=3, checkpoint=str(fetch("hf://me/net")))' in card


def test_push_checks_before_it_uploads(library, tmp_path, tiny_arrays):
    path = tmp_path / "own.ckpt"
    write_weights(tiny_arrays, path)
    with pytest.raises(UserError, match="has 3 classes, but 1 class names were given"):
        hub.push(str(path), "me/net", "hrnet_w32", class_names=["ant"])
    write_weights({"a.weight": tiny_arrays["conv1.weight"]}, path)
    with pytest.raises(CheckpointError, match="holds no HRNet classifier"):
        hub.push(str(path), "me/net", "hrnet_w32")
    assert library.pushed == {}
