import logging
import os
import re
import threading
import time

import numpy as np
import pytest

from mindcv_hrnet.data.sources import folder_index as module
from mindcv_hrnet.data.sources import index_cache
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.folder_index import folder_index


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """An old folder of three classes, worth caching; scans are counted in `tree.scans`."""
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_CACHING", 1)
    root, scans = tmp_path / "train", []
    for name in ("a/002.jpg", "a/deep/001.jpg", "b/x.jpg", "c/épée.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    settle(root)
    real = module._scan
    monkeypatch.setattr(module, "_scan", lambda *args: (scans.append(1), real(*args))[1])
    return root, scans


def settle(root):
    """Make the folders look as if nothing had changed for a minute."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (time.time() - 60,) * 2)


def names(root):
    source = ImageFolder(root)
    return [os.path.relpath(source.path(i), root) for i in range(len(source))], source.labels.tolist()


EXPECTED = (["a/002.jpg", "a/deep/001.jpg", "b/x.jpg", "c/épée.png"], [0, 0, 1, 2])


def test_the_second_start_lists_nothing(tree, caplog):
    root, scans = tree
    with caplog.at_level(logging.INFO):
        assert names(root) == EXPECTED and names(root) == EXPECTED
    assert len(scans) == 1
    (cache,) = index_cache.cache_file(str(root)).parent.glob("*.npz")
    assert caplog.messages == [f"{root}: 4 images listed; kept in {cache} for the next start"]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "b" / "new.jpg").write_bytes(b"1"),
        lambda root: (root / "a" / "deep" / "001.jpg").rename(root / "a" / "deep" / "000.jpg"),
        lambda root: (root / "a" / "002.jpg").unlink(),
        lambda root: ((root / "d").mkdir(), (root / "d" / "1.jpg").write_bytes(b"1")),
    ],
    ids=["added", "renamed deep down", "removed", "new class"],
)
def test_a_changed_folder_is_listed_again(change, tree):
    root, scans = tree
    assert names(root) == EXPECTED
    change(root)
    changed = names(root)
    assert changed != EXPECTED and len(scans) == 2
    settle(root)
    assert names(root) == changed and names(root) == changed and len(scans) == 3


def test_a_folder_that_is_still_being_filled_is_not_remembered(tree):
    root, scans = tree
    (root / "b" / "new.jpg").write_bytes(b"1")
    names(root)
    names(root)
    assert len(scans) == 2 and not index_cache.cache_file(str(root)).exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_cache_is_replaced(content, tree):
    root, scans = tree
    names(root)
    cache = index_cache.cache_file(str(root))
    cache.write_bytes(cache.read_bytes()[:-400] if content is None else content)
    assert names(root) == EXPECTED and names(root) == EXPECTED and len(scans) == 2


def changed_cache(cache, **arrays):
    with np.load(cache) as stored:
        content = dict(stored)
    np.savez(cache, **{name: array for name, array in {**content, **arrays}.items()})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cache: changed_cache(cache, counts=np.array([2, 1, 9])),
        lambda cache: changed_cache(cache, lengths=np.array([7, 7, 7])),
        lambda cache: changed_cache(cache, names=np.zeros(3, np.uint8)),
        lambda cache: changed_cache(cache, counts=np.array(["a", "b", "c"])),
        lambda cache: changed_cache(cache, times=np.array([], np.int64)),
        lambda cache: changed_cache(cache, format=np.array([3, 3])),
        lambda cache: changed_cache(cache, classes=np.array([object()])),
        lambda cache: np.savez_compressed(cache, format=3, names=np.zeros(1 << 28, np.uint8)),
        # an unknown way of packing, in the directory at the end of the zip
        lambda cache: cache.write_bytes(
            re.sub(rb"(PK\x01\x02.{6})\x00\x00", lambda found: found[1] + b"\x63\0", cache.read_bytes(), flags=re.S)
        ),
        lambda cache: (cache.unlink(), cache.mkdir()),
    ],
    ids=["counts", "lengths", "names", "texts", "times", "format", "objects", "bomb", "compression", "folder"],
)
def test_a_cache_that_makes_no_sense_is_not_used(spoil, tree):
    root, scans = tree
    names(root)
    cache = index_cache.cache_file(str(root))
    before = cache.read_bytes()
    spoil(cache)
    assert cache.is_dir() or cache.read_bytes() != before
    assert names(root) == EXPECTED and len(scans) == 2


def test_other_classes_need_another_list(tree):
    root, scans = tree
    names(root)
    assert folder_index(str(root), ["a"]).counts.tolist() == [2] and len(scans) == 2


def test_small_folders_leave_no_file(tree, monkeypatch):
    root, _ = tree
    monkeypatch.setattr(index_cache, "WORTH_CACHING", 5)
    names(root)
    assert not index_cache.cache_file(str(root)).exists()


def test_a_cache_that_cannot_be_written_changes_nothing(tree, monkeypatch, tmp_path):
    root, scans = tree
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "file"))
    assert names(root) == EXPECTED and names(root) == EXPECTED and len(scans) == 2


def test_ranks_that_start_together_scan_once(tree, monkeypatch):
    root, scans = tree
    slow = module._list
    monkeypatch.setattr(module, "_list", lambda *args: (time.sleep(0.1), slow(*args))[1])
    found = []
    ranks = [threading.Thread(target=lambda: found.append(names(root))) for _ in range(4)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert found == [EXPECTED] * 4 and len(scans) == 1


def test_later_ranks_leave_the_scan_to_the_first(tree, monkeypatch):
    root, scans = tree
    waited = []
    monkeypatch.setattr(index_cache.time, "sleep", lambda seconds: (waited.append(seconds), names_of_rank(0)))

    def names_of_rank(rank):
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", str(rank))
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        return names(root)

    assert names_of_rank(1) == EXPECTED and waited == [1] and len(scans) == 1


def test_progress_of_a_long_scan(tree, monkeypatch, caplog):
    root, _ = tree
    monkeypatch.setattr(index_cache, "PROGRESS_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO):
        names(root)
    assert caplog.messages[:3] == [f"{root}: {n} of 3 classes listed, {m} images" for n, m in ((1, 2), (2, 3), (3, 4))]


def test_a_million_names_take_tens_of_megabytes(tmp_path, monkeypatch):
    lengths = np.full(1_281_167, 20, np.uint16)
    names = np.zeros(20 * len(lengths), np.uint8)
    arrays = {"names": names, "lengths": lengths, "counts": np.array([len(lengths)])}
    monkeypatch.setattr(module, "load_or_list", lambda *args: arrays)
    index = folder_index(str(tmp_path), ["a"])
    assert len(index.names) + index.ends.nbytes < 40e6
