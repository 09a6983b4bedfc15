"""Files are whole or absent, also when the disk is full or the writer breaks off."""

import errno
import json
import os
import resource
import stat
from contextlib import contextmanager

import pytest

from mindcv_hrnet.errors import RunError, UserError
from mindcv_hrnet.runtime.files import expand_home, make_folder, write_atomically, write_json, write_text


@contextmanager
def file_size_limit(size):
    """The system refuses to let any file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def old(tmp_path):
    """A file that holds "old", alone in its folder."""
    path = tmp_path / "note.txt"
    path.write_text("old")
    return path


def assert_untouched(path):
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "old"


def half_then(error):
    def write(path):
        path.write_text("ne")
        raise error

    return write


def test_replaces_in_one_step_and_leaves_no_temporary(old):
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append((temporary.parent, temporary.suffix, old.read_text()))

    with open(old) as reader:
        write_atomically(old, write)
        # another file has taken the name: who had the old one open reads on in it
        assert reader.read() == "old"
    assert seen == [(old.parent, ".txt", "old")]
    assert old.read_text() == "new"
    assert [child.name for child in old.parent.iterdir()] == ["note.txt"]


def test_file_is_readable_and_writable_afterwards(tmp_path):
    def write(temporary):
        temporary.write_text("x")
        temporary.chmod(0o400)

    write_atomically(tmp_path / "a.ckpt", write)
    assert stat.S_IMODE((tmp_path / "a.ckpt").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("a defect"), SystemExit(3)], ids=repr)
def test_a_writer_that_breaks_off_leaves_the_old_file(old, error):
    with pytest.raises(type(error)):
        write_atomically(old, half_then(error))
    assert_untouched(old)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "Disk quota exceeded"),
        # MindSpore wraps the system's message
        (RuntimeError("No space left on device"), "No space left on device"),
    ],
    ids=repr,
)
def test_a_full_disk_is_one_line_and_the_old_file_stays(old, error, reason):
    with pytest.raises(RunError) as raised:
        write_atomically(old, half_then(error))
    assert str(raised.value) == (
        f"{old}: cannot be written ({reason}); free some space and start again; earlier files are untouched"
    )
    assert_untouched(old)


def test_a_disk_that_is_really_full(old):
    with pytest.raises(RunError) as raised, file_size_limit(1000):
        write_text(old, "x" * 100_000)
    assert str(raised.value).startswith(f"{old}: cannot be written (File too large); free some space")
    assert_untouched(old)


def test_a_folder_that_is_gone(tmp_path):
    path = tmp_path / "gone" / "a.txt"
    with pytest.raises(RunError) as raised:
        write_text(path, "x")
    assert str(raised.value).startswith(f"{path}: cannot be written (No such file or directory); check the folder")


def test_json_keeps_letters_and_ends_with_a_line_feed(tmp_path):
    write_json(tmp_path / "a.json", {"names": ["bée"], "best": None})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"names": ["bée"], "best": None} and "bée" in text and text.endswith("}\n")


def test_make_folder(tmp_path, old):
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    with pytest.raises(RunError) as raised:
        make_folder(old / "run")
    assert str(raised.value) == f"{old}/run: folder cannot be made (Not a directory); choose another one"


def test_home_is_expanded_and_nothing_else(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    paths = {"~": "/somewhere", "~/a": "/somewhere/a", "a/../~": "a/../~", "": "."}
    assert {path: str(expand_home(path)) for path in paths} == paths


def test_a_home_of_nobody_is_one_line():
    with pytest.raises(UserError, match=r"^~nosuchuser/x: .* write the path in full$"):
        expand_home("~nosuchuser/x")


@pytest.mark.parametrize("path", ["x" * 256, "é" * 128, "ok/" + "x" * 256 + "/ok", "x/" * 2048, "a\0b", "\ud800"])
def test_what_no_file_can_be_called(path):
    with pytest.raises(UserError, match=r"no file can be called so; a name has up to 255 bytes, none of them zero$"):
        expand_home(path)
    assert expand_home("x" * 255).name == "x" * 255 and str(expand_home("\udc80")) == "\udc80"
