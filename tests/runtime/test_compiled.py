"""Files of compiled graphs: kept whole, found by what shapes them, bounded, and never the end of a run.

A function writes what MindSpore would; `integration/test_compile_cache.py` asks MindSpore itself.
"""

import errno
import itertools
import logging
import os
import time
import zipfile

import mindspore as ms
import pytest

from mindcv_hrnet.runtime import compiled
from mindcv_hrnet.runtime.compiled import ENABLE, FOLDER, CompileCache, key_of, make_room, open_compile_cache
from mindcv_hrnet.runtime.locks import exclusive_lock


def message(graph):
    """What MindSpore writes, with one field: the graph's name."""
    return b"\x0a" + bytes([len(graph)]) + graph.encode()


class Start:
    """A process's first job on a cache folder, with MindSpore's part of it."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder, self.patch = tmp_path / "cache", monkeypatch
        monkeypatch.setenv("MINDCV_HRNET_CACHE", str(self.folder))
        monkeypatch.delenv(ENABLE, raising=False)

    def __call__(self, *graphs, parts=None, wanted=True, first_rank=True):
        """Graphs that MindSpore compiled, out of those that were asked for one after the other."""
        self.patch.setattr(compiled, "_jobs", itertools.count())
        compilations, numbers, calls = [], itertools.count(), itertools.count()
        with open_compile_cache(parts or {"lr": 1}, wanted=wanted, first_rank=first_rank) as cache:
            for graph in graphs:
                with cache.compiling(graph):
                    if graphs.index(graph) < next(calls):
                        continue  # MindSpore has it in memory
                    if ENABLE not in os.environ:
                        compilations.append(graph)
                        continue
                    path = cache.scratch / "rank_0" / f"{next(numbers)}.mindir"
                    assert os.environ[FOLDER] == str(cache.scratch)
                    if path.is_file():
                        assert path.read_bytes() == message(graph)
                    else:
                        compilations.append(graph)
                        path.parent.mkdir(exist_ok=True)
                        path.write_bytes(message(graph))
            assert ENABLE not in os.environ
        return compilations

    @property
    def file(self):
        (file,) = self.folder.iterdir()
        return file


@pytest.fixture
def start(tmp_path, monkeypatch):
    return Start(tmp_path, monkeypatch)


def notices(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_the_second_start_compiles_nothing(start):
    assert start("train", "evaluate", "train") == ["train", "evaluate"]
    assert start("train", "evaluate") == []
    assert start.file.name == f"compiled-{key_of({'lr': 1}, ms)}.zip"


def test_what_a_later_start_compiles_is_added(start):
    assert start("train") == ["train"]
    assert start("train", "evaluate") == ["evaluate"]
    assert start("train", "evaluate") == []


def test_other_parts_are_another_file(start):
    assert start("train") == ["train"]
    assert start("train", parts={"lr": 2}) == ["train"]
    assert len(list(start.folder.iterdir())) == 2


def test_graphs_in_another_order_are_compiled(start):
    start("train", "evaluate")
    assert start("evaluate", "train") == ["evaluate", "train"]
    assert start("train", "evaluate") == []


@pytest.mark.parametrize("setting", [{"wanted": False}, {ENABLE: "0"}, {ENABLE: "1"}, {"MS_DEV_SAVE_GRAPHS": "1"}])
def test_nothing_is_kept_where_it_is_off_or_the_users_own(start, setting, monkeypatch):
    for name, value in setting.items():
        if name != "wanted":
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(compiled, "_jobs", itertools.count())
    with open_compile_cache({}, wanted=setting.get("wanted", True), first_rank=True) as cache:
        assert cache.file is None
        with cache.compiling("train"):
            assert os.environ.get(ENABLE) == setting.get(ENABLE)
    assert not start.folder.exists()


def test_the_second_job_of_a_process_keeps_nothing(start, monkeypatch):
    monkeypatch.setattr(compiled, "_jobs", itertools.count())
    files = []
    for _ in range(2):
        with open_compile_cache({}, wanted=True, first_rank=True) as cache:
            files.append(cache.file)
    assert files[0] is not None and files[1] is None


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def flip(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"0.mindir") + len("0.mindir")] ^= 255  # the first byte of what it holds
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def without_names(file):
    with zipfile.ZipFile(file, "w") as stored:
        stored.writestr("rank_0/0.mindir", "graph of train")


def encrypted(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag in the directory
    file.write_bytes(content)


def names_that_are_none(file):
    with zipfile.ZipFile(file, "w") as stored:
        stored.writestr("graphs.json", "5")


@pytest.mark.parametrize("damage", [cut, flip, empty, without_names, encrypted, names_that_are_none])
def test_a_damaged_file_costs_a_notice_and_is_written_anew(start, damage, caplog):
    start("train")
    damage(start.file)
    assert start("train") == ["train"]
    (notice,) = notices(caplog)
    assert notice.startswith(f"{start.file}: cannot be used (") and notice.endswith("); compiling instead")
    assert start("train") == [] and len(notices(caplog)) == 1


def test_a_folder_that_cannot_be_made_costs_a_notice(start, caplog):
    start.folder.write_text("in the way")
    assert start("train", "evaluate") == ["train", "evaluate"]
    (notice,) = notices(caplog)
    assert "cannot be written (" in notice and "the next start will compile again" in notice
    assert notice.endswith("set MINDCV_HRNET_CACHE to another folder, or pass --compile_cache False")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_folder_costs_one_notice_and_leaves_nothing(start, code, caplog, monkeypatch):
    start.folder.mkdir()

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(zipfile.ZipFile, "write", refuse)
    assert start("train", "evaluate") == ["train", "evaluate"]
    (notice,) = notices(caplog)
    assert f"cannot be written ({os.strerror(code)})" in notice
    assert list(start.folder.iterdir()) == []


def test_other_ranks_give_no_notice(start, caplog):
    start.folder.write_text("in the way")
    start("train", first_rank=False)
    assert notices(caplog) == []


def test_a_file_with_which_a_start_failed_is_not_used_again(start, tmp_path):
    start("train")
    cache = CompileCache(start.file, tmp_path / "scratch")
    with pytest.raises(RuntimeError, match="cannot load"), cache.compiling("train"):
        raise RuntimeError("cannot load")
    assert list(start.folder.iterdir()) == [] and ENABLE not in os.environ


def test_the_error_of_a_start_is_not_hidden_by_a_file_that_stays(start, tmp_path, monkeypatch):
    start("train")
    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    with pytest.raises(MemoryError, match="device is full"), open_again(monkeypatch) as cache, cache.compiling("train"):
        raise MemoryError("the device is full")


def test_nothing_is_kept_where_mindspore_wrote_no_graph(start, monkeypatch):
    with open_again(monkeypatch) as cache, cache.compiling("train"):
        (cache.scratch / "rank_0").mkdir()
    assert not start.folder.exists()


@pytest.mark.parametrize("written", [b"", message("train")[:-1]], ids=["nothing", "the beginning"])
def test_a_graph_that_mindspore_cut_off_is_not_kept(start, monkeypatch, caplog, written):
    with open_again(monkeypatch) as cache:
        for graph in ("train", "evaluate"):
            with cache.compiling(graph):
                (cache.scratch / f"{graph}.mindir").write_bytes(written)
    (notice,) = notices(caplog)
    assert "no room for compiled graphs (a graph was cut off); compiling without a cache" in notice
    assert not start.folder.exists()


def test_a_pipe_in_the_files_place_is_not_waited_for(start, caplog):
    start("train")
    file = start.file
    file.unlink()
    os.mkfifo(file)
    assert start("train") == ["train"] and start("train") == []
    assert [notice.partition(": ")[2] for notice in notices(caplog)] == [
        "cannot be used (no ordinary file); compiling instead"
    ]


def test_no_room_for_temporary_files_costs_a_notice(start, caplog, monkeypatch):
    monkeypatch.setattr(compiled.tempfile, "TemporaryDirectory", refuse)
    assert start("train") == ["train"]
    (notice,) = notices(caplog)
    assert "no room for compiled graphs" in notice and "compiling without a cache" in notice


def test_private_copies_of_killed_processes_are_removed(start, tmp_path, monkeypatch):
    folders = dict.fromkeys(("dead", "young", "living"))
    for name in folders:
        folders[name] = tmp_path / f"mindcv_hrnet-graphs-{name}"
        folders[name].mkdir()
        (folders[name] / ".lock").touch()
        age = 0 if name == "young" else 7200
        os.utime(folders[name], (time.time() - age,) * 2)
    with exclusive_lock(folders["living"] / ".lock"):
        compiled.sweep(tmp_path)
    assert [name for name, folder in folders.items() if folder.exists()] == ["young", "living"]


def refuse(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def open_again(monkeypatch):
    monkeypatch.setattr(compiled, "_jobs", itertools.count())
    return open_compile_cache({"lr": 1}, wanted=True, first_rank=True)


def test_room_is_made_by_what_was_unused_for_longest(start):
    for age, lr in enumerate((3, 2, 1)):
        start("train", parts={"lr": lr})
        file = start.folder / f"compiled-{key_of({'lr': lr}, ms)}.zip"
        os.utime(file, (1000 + age, 1000 + age))
    start("train", parts={"lr": 3})  # used again
    unfinished = start.folder / ".compiled-0.17.zip"
    unfinished.write_bytes(b"0" * 100)
    os.utime(unfinished, (1, 1))
    (start.folder / "hrnet_w32.ckpt").write_bytes(b"0" * 10_000)
    size = file.stat().st_size
    make_room(file, largest_total=2 * size)
    left = {path.name for path in start.folder.iterdir()}
    assert left == {"hrnet_w32.ckpt", *(f"compiled-{key_of({'lr': lr}, ms)}.zip" for lr in (1, 3))}
    make_room(file, largest_total=0)
    assert {path.name for path in start.folder.iterdir()} == {"hrnet_w32.ckpt", file.name}


def test_code_mindspore_cann_and_their_settings_are_part_of_the_name(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "step.py").write_text("a = 1")
    monkeypatch.setattr(compiled, "_PACKAGE", package)
    build = tmp_path / "framework" / ".commit_id"
    build.parent.mkdir()

    class Framework:
        __version__, __file__ = "2.10.0", str(build.with_name("__init__.py"))

    keys = [key_of({"a": 1}, Framework)]
    assert key_of({"a": 1}, Framework) == keys[0]
    (package / "step.py").write_text("a = 2")
    keys.append(key_of({"a": 1}, Framework))
    (package / "step.py").rename(package / "steps.py")
    keys.append(key_of({"a": 1}, Framework))
    build.write_text("another build")
    keys.append(key_of({"a": 1}, Framework))
    monkeypatch.setattr(Framework, "__version__", "2.10.1")
    keys.append(key_of({"a": 1}, Framework))
    monkeypatch.setenv("MS_DEV_JIT_SYNTAX_LEVEL", "2")
    keys.append(key_of({"a": 1}, Framework))
    keys.append(key_of({"a": 2}, Framework))
    cann = tmp_path / "cann/compiler/version.info"
    cann.parent.mkdir(parents=True)
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    assert key_of({"a": 2}, Framework) == keys[-1]
    for version in ("7.7.0.1.231:8.2.RC1", "7.7.0.1.238:8.2.RC1"):
        cann.write_text(f"Version={version}\n")
        keys.append(key_of({"a": 2}, Framework))
    assert len(set(keys)) == 9
