"""The package's cache folder."""

import hashlib
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer
from repository import ROOT

from mindcv_hrnet.cli import scratch_folder
from mindcv_hrnet.data.sources.index_cache import WORTH_CACHING, Listing, load_or_list
from mindcv_hrnet.jobs.probes import capacity
from mindcv_hrnet.runtime.cache import cache_folder
from mindcv_hrnet.runtime.compiled import CompileCache
from mindcv_hrnet.weights.pretrained import fetch


def test_the_variable_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


def test_otherwise_it_is_in_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("MINDCV_HRNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "mindcv_hrnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/mindcv_hrnet"


def test_a_relative_folder_is_the_users_wherever_a_command_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINDCV_HRNET_CACHE", "here")
    with scratch_folder():
        assert cache_folder() == tmp_path / "here" and Path.cwd() != tmp_path


@pytest.mark.parametrize("variable", ["MINDCV_HRNET_CACHE", "XDG_CACHE_HOME"])
def test_where_nothing_can_be_kept_no_folder_is_made(monkeypatch, tmp_path, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINDCV_HRNET_CACHE")
    monkeypatch.setenv(variable, "~nobody-has-this-name/x")
    with pytest.raises(NotADirectoryError), scratch_folder():
        cache_folder().mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "loop"))
    with pytest.raises(OSError, match=r"symbolic links|exists"):
        cache_folder().mkdir(parents=True, exist_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Names of all files that its users write into the cache folder, also of those that are soon renamed or removed."""
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "cache"))
    names = set()
    replace, unlink = os.replace, Path.unlink

    def watched_unlink(path, missing_ok=False):
        names.update({path.name} if path.exists() else ())
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "replace", lambda old, new: names.add(Path(old).name) or replace(old, new))
    monkeypatch.setattr(Path, "unlink", watched_unlink)

    content = b"weights"
    server = FileServer(content, "hrnet_w32.ckpt")
    fetch(f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}")
    server.close()
    load_or_list(str(tmp_path), lambda arrays: True, lambda: Listing({"a": np.zeros(1)}, WORTH_CACHING, 0))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with CompileCache(cache_folder() / "compiled-0.zip", scratch).compiling("train"):
        (scratch / "0.mindir").write_bytes(b"\x08\x01")
    capacity.cache()
    return names | {path.name for path in cache_folder().iterdir()}


def test_the_page_lists_every_file_in_it(written):
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    table = page.partition("## The cache folder")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    patterns = {pattern for cell in first_cells for pattern in re.findall(r"`([^`]*[*.][^`]*)`", cell)}
    assert {name for name in written if not any(fnmatchcase(name, pattern) for pattern in patterns)} == set()
    assert {pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in written)} == set()


def test_the_users_are_those_above():
    """Another module that keeps files there has to be called in `written`, and to stand on the page."""
    sources = (ROOT / "mindcv_hrnet").rglob("*.py")
    users = {path.stem for path in sources if "cache_folder()" in path.read_text(encoding="utf-8")}
    assert users == {"cache", "capacity", "compiled", "index_cache", "pretrained"}
