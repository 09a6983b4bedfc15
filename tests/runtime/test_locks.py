"""One process at a time, and what happens where there are no locks."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.locks import OwnerLock, exclusive_lock


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


HOLD = """
import sys
from pathlib import Path
from mindcv_hrnet.runtime.locks import OwnerLock
lock = OwnerLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@contextmanager
def other_process(path):
    """A process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_names_its_owner_and_goes_with_it(tmp_path, caplog):
    path = tmp_path / ".lock"
    with other_process(path) as owner:
        assert json.loads(path.read_text()) == {"host": socket.gethostname(), "pid": owner.pid}
        with pytest.raises(RunError) as error:
            OwnerLock(path)
        assert str(error.value) == (
            f"{tmp_path}: process {owner.pid} on {socket.gethostname()} trains in this folder; wait for it, or choose "
            "another --ckpt_save_dir"
        )
        owner.stdin.close()
        owner.wait(20)
        assert not path.exists()
    lock = OwnerLock(path)
    assert lock.is_there() and caplog.messages == []
    lock.release()
    lock.release()
    assert not path.exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, caplog):
    path = tmp_path / ".lock"
    with other_process(path) as owner:
        owner.kill()
        owner.wait(20)
        lock = OwnerLock(path)
    assert caplog.messages == [
        f"{tmp_path}: process {owner.pid} on {socket.gethostname()} ended without finishing; its lock is taken over"
    ]
    assert json.loads(path.read_text())["pid"] == os.getpid()
    path.unlink()
    assert not lock.is_there()
    lock.release()


@pytest.mark.parametrize(
    ("host", "pid", "held"),
    [
        (socket.gethostname(), os.getppid(), True),
        (socket.gethostname(), 4194305, False),
        ("another-host", 4194305, True),
    ],
)
def test_without_locks_of_the_system_host_and_process_decide(tmp_path, monkeypatch, host, pid, held):
    def lockf(stream, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    (tmp_path / ".lock").write_text(json.dumps({"host": host, "pid": pid}))
    if held:
        with pytest.raises(RunError, match=f"process {pid} on {host} trains in this folder"):
            OwnerLock(tmp_path / ".lock")
    else:
        OwnerLock(tmp_path / ".lock").release()


def test_a_lock_file_of_garbage_is_nobodys(tmp_path):
    (tmp_path / ".lock").write_text("[[")
    OwnerLock(tmp_path / ".lock").release()
