"""The package's cache folder."""

from pathlib import Path

from mindcv_hrnet.runtime.cache import cache_folder


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
