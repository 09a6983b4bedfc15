import hashlib
import logging
import threading

import pytest

from mindcv_hrnet.data import prefetch, retry
from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.errors import DataError, RunError


class Moody(ImageFolder):
    """An image folder whose reads of one index do what `mood(attempt)` does first."""

    def __init__(self, root, index, mood):
        super().__init__(root)
        self.index, self.mood, self.attempts = index, mood, 0

    def read(self, index):
        if index == self.index:
            self.attempts += 1
            self.mood(self.attempts)
        return super().read(index)


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(retry, "RETRY_AFTER_S", (0.01, 0.01))
    monkeypatch.setattr(retry, "STALLED_AFTER_S", 0.3)
    monkeypatch.setattr(prefetch, "OVERDUE_S", 0.05)


def digests(source, sections):
    loader = TrainLoader(source, *sections(), seed=1)
    found = [hashlib.sha256(batch.images.tobytes()).hexdigest() for batch in loader.batches(0)]
    loader.close()
    return found


def failing(times):
    def mood(attempt):
        if attempt <= times:
            raise OSError(5, "Input/output error")

    return mood


def test_a_failing_read_is_tried_again(folder, sections, hurry, caplog):
    root = folder({"a": 9, "b": 8})
    source = Moody(root, 3, failing(2))
    assert digests(source, sections) == digests(ImageFolder(root), sections)
    path = source.path(3)
    assert (
        caplog.messages == [f"{path}: reading failed (Input/output error); trying again"] * 2 and source.attempts == 3
    )


def test_a_read_that_always_fails_is_named(folder, sections, hurry):
    source = Moody(folder({"a": 9, "b": 8}), 3, failing(99))
    loader = EvalLoader(source, *sections())
    with pytest.raises(DataError, match=r"a/003.jpg: it cannot be read \(Input/output error\); validation needs every"):
        list(loader)
    loader.close()
    assert source.attempts == 3


def test_a_missing_file_is_not_tried_again(folder, sections, hurry):
    def missing(attempt):
        raise FileNotFoundError(2, "No such file or directory")

    source = Moody(folder({"a": 9, "b": 8}), 3, missing)
    loader = EvalLoader(source, *sections())
    with pytest.raises(DataError, match="No such file"):
        list(loader)
    loader.close()
    assert source.attempts == 1


def test_a_stalled_read_is_taken_over(folder, sections, hurry, caplog):
    root, release = folder({"a": 9, "b": 8}), threading.Event()
    source = Moody(root, 3, lambda attempt: attempt == 1 and release.wait(20))
    try:
        with caplog.at_level(logging.WARNING):
            assert digests(source, sections) == digests(ImageFolder(root), sections)
    finally:
        release.set()
    assert caplog.messages == [f"{source.path(3)}: reading it takes more than 0.3 s; trying again"]
    assert source.attempts == 2


def test_a_read_that_always_stalls_is_named(folder, sections, hurry):
    release = threading.Event()
    source = Moody(folder({"a": 9, "b": 8}), 3, lambda attempt: release.wait(20))
    loader = EvalLoader(source, *sections())
    try:
        with pytest.raises(DataError, match=r"a/003.jpg: reading it stalled 3 times for 0.3 s; check the disk"):
            list(loader)
    finally:
        release.set()
    loader.close()
    assert source.attempts == 3


def test_a_mount_that_is_gone_for_a_while_is_waited_for(folder, sections, hurry, monkeypatch, caplog):
    monkeypatch.setattr(retry, "STALLED_AFTER_S", 20.0)
    monkeypatch.setattr(retry, "ROOT_POLL_S", 0.02)
    root = folder({"a": 9, "b": 8})
    expected = digests(ImageFolder(root), sections)
    away = root.with_name("away")

    def unmount(attempt):
        if attempt == 1:
            root.rename(away)
            threading.Timer(0.4, lambda: away.rename(root)).start()

    assert digests(Moody(root, 3, unmount), sections) == expected
    assert caplog.messages == [f"{root}: is gone; waiting up to 60 s for it to come back"]


def test_a_mount_that_stays_away_ends_the_run(folder, sections, hurry, monkeypatch):
    monkeypatch.setattr(retry, "ROOT_POLL_S", 0.02)
    root = folder({"a": 9, "b": 8})
    with pytest.raises(DataError, match=r"reading it stalled 3 times for 0.3 s; check the disk or the share"):
        digests(Moody(root, 3, lambda attempt: attempt == 1 and root.rename(root.with_name("away"))), sections)


def test_memory_that_runs_out_in_a_thread_ends_the_run_in_a_line(folder, sections, hurry):
    def exhaust(attempt):
        raise MemoryError

    with pytest.raises(RunError, match="out of memory while images are decoded; lower num_parallel"):
        digests(Moody(folder({"a": 9, "b": 8}), 3, exhaust), sections)
