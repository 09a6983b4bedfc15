"""One process at a time, and what happens where there are no locks."""

import errno
import fcntl
import os
import threading

import pytest

from mindcv_hrnet.runtime.locks import exclusive_lock


def test_the_second_waits_for_the_first(tmp_path):
    inside, order = threading.Event(), []

    def second():
        inside.wait()
        with exclusive_lock(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with exclusive_lock(tmp_path / "lock"):
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and os.listdir(tmp_path) == ["lock"]


def test_a_folder_that_cannot_be_written(tmp_path):
    for required in (True, False):
        with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "missing" / "lock", required=required):
            pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(stream, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks available"), exclusive_lock(tmp_path / "lock"):
        pass
    with exclusive_lock(tmp_path / "lock", required=False):
        assert (tmp_path / "lock").exists()
