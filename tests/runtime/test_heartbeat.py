"""Signs of life over real connections, between the ranks of a job that live in one process here."""

import errno
import json
import logging
import socket
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from mindcv_hrnet.runtime import heartbeat as module
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.heartbeat import LONGEST_LINE, Heartbeat, JsonChannel
from mindcv_hrnet.runtime.signals import Stopped
from mindcv_hrnet.runtime.watch import Place

LIMIT_S = 1.0


class Job:
    """Heartbeats of several ranks. What ends a rank is kept, in place of ending the process."""

    def __init__(self, monkeypatch, size):
        self.row = np.zeros(0, np.float32)
        self.ended = []
        self.ready = threading.Event()
        monkeypatch.setattr(module, "gather_over_ranks", self._gather)
        monkeypatch.setattr(module, "leave_job", lambda code, message, speaker: self.ended.append((code, speaker)))
        monkeypatch.setattr(module, "all_on_this_host", lambda: True)
        self.said = {rank: [] for rank in range(size)}
        self.ranks = [Heartbeat(Cluster(rank, size), LIMIT_S, self.said[rank].append) for rank in range(size)]

    def _gather(self, values, cluster):
        if cluster.is_main:
            self.row = values
        return np.stack([self.row, *(values for _ in range(cluster.size - 1))])

    def start(self):
        for rank in self.ranks:
            rank.__enter__()

    def stop(self, error=None):
        for rank in self.ranks:
            rank.__exit__(type(error) if error else None, error, None)


@pytest.fixture
def job(monkeypatch):
    """A function (size) -> a job that has started, and is stopped afterwards."""
    jobs = []

    def start(size=3):
        made = Job(monkeypatch, size)
        jobs.append(made)
        made.start()
        return made

    yield start
    for made in jobs:
        made.stop()


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


def hang(rank, monkeypatch):
    """Its thread does nothing more, as if the process was stopped."""
    monkeypatch.setattr(rank, "_tell_all", lambda value: None)
    monkeypatch.setattr(rank, "_judge", lambda now: None)
    monkeypatch.setattr(rank, "_take", lambda sender, value: None)


@pytest.mark.parametrize("silent", [0, 2])
def test_a_rank_that_is_silent_is_named_and_the_others_end(job, monkeypatch, silent):
    started = job()
    others = [rank for rank in range(3) if rank != silent]
    for number, rank in enumerate(started.ranks):
        rank.advice = "go on with: python train.py --resume"
        rank.tell(Place(40 + number, inside=True))
    first_sees_all = started.ranks[0]._watch
    wait_for(lambda: [peer.place.step for _, peer in sorted(first_sees_all.peers.items())] == [40, 41, 42])
    hang(started.ranks[silent], monkeypatch)
    begun = time.monotonic()
    wait_for(lambda: all(started.said[rank] for rank in others))
    assert LIMIT_S - 0.2 < time.monotonic() - begun < 5
    for rank in others:
        (text,) = started.said[rank]
        assert text.startswith(f"error: rank {silent} (process ") and f"on {socket.gethostname()})" in text
        assert f"no sign of life for 1 s, last in step {41 + silent}: " in text
        assert text.endswith("; go on with: python train.py --resume")
    # where the first rank is silent, the second speaks for all
    assert started.ended == [(5, 0 if silent else 1)] * 2


def test_ranks_that_live_are_left_alone_and_leave_in_order(job):
    started = job()
    time.sleep(1.3 * LIMIT_S)
    started.ranks[1].__exit__(Stopped, Stopped(15), None)
    started.ranks[1] = Heartbeat(Cluster(), LIMIT_S)  # nothing is left of it
    wait_for(lambda: set(started.ranks[0]._watch.peers) == {0, 2})
    time.sleep(1.3 * LIMIT_S)
    assert started.ended == []


def test_a_rank_that_leaves_with_an_error_has_ended(job, monkeypatch):
    monkeypatch.setattr("mindcv_hrnet.runtime.watch.GRACE_S", 0.1)
    started = job(2)
    error = ValueError("of that rank")
    started.ranks[1].__exit__(ValueError, error, None)
    started.ranks[1] = Heartbeat(Cluster(), LIMIT_S)
    wait_for(lambda: started.ended)
    assert "rank 1 (process " in started.said[0][0]
    assert "has ended without a word (its end of the connection is closed)" in started.said[0][0]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ETIMEDOUT, "has given no sign of life for 1 s"), (errno.ECONNRESET, "has ended")]
)
def test_a_connection_that_breaks_says_whether_the_host_is_out_of_reach(job, monkeypatch, number, said):
    monkeypatch.setattr("mindcv_hrnet.runtime.watch.GRACE_S", 0.1)
    started = job(2)
    started.ranks[1].tell(Place(3))
    wait_for(lambda: started.ranks[0]._watch.peers.get(1) and started.ranks[0]._watch.peers[1].place.step == 3)
    hang(started.ranks[1], monkeypatch)

    def broken(value):
        raise OSError(number, "broken")

    monkeypatch.setattr(started.ranks[0]._lines[1], "send", broken)
    wait_for(lambda: started.said[0])
    assert f"on {socket.gethostname()}) {said}" in started.said[0][0]


def test_a_rank_that_holds_up_the_others_is_told(job, caplog):
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        started = job()
        for rank in started.ranks:
            rank.tell(Place(5, inside=rank.cluster.rank != 2))
        wait_for(lambda: caplog.messages)
    assert caplog.messages[0].startswith("rank 2 (process ")
    assert caplog.messages[0].endswith("holds up the others for 1 s, between the steps 5 and 6")
    assert started.ended == []


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'["0000000000000000", 1, "h", 1]\n',
        b"[1]\n",
        b'"x"\n',
        b"\xff\n",
        b"x" * (LONGEST_LINE + 1),
        b"[" * 1000 + b"\n",
    ],
)
def test_strangers_are_sent_away(job, words):
    started = job(2)
    port = started.ranks[0]._listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), 5) as stranger:
        stranger.sendall(words)
        with suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    assert set(started.ranks[0]._watch.peers) == {0, 1} and started.ended == []


def test_a_first_rank_out_of_reach_is_told_and_the_job_goes_on(monkeypatch, caplog):
    job = Job(monkeypatch, 2)
    job.ranks[0].__enter__()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        job.row[module.WORDS] = closed.getsockname()[1]
    job.ranks[1].__enter__()
    assert caplog.messages == [
        f"rank 1: cannot reach the first rank at 127.0.0.1, port {int(job.row[module.WORDS])}; should this rank hang, "
        "the others will not know"
    ]
    time.sleep(1.3 * LIMIT_S)
    job.stop()
    assert job.ended == []


def test_alone_or_without_a_limit_there_is_nothing_to_watch():
    for heartbeat in (Heartbeat(Cluster(), 120.0), Heartbeat(Cluster(0, 8), 0.0)):
        with heartbeat:
            heartbeat.tell(Place(3))
            heartbeat.next_batch()
            assert heartbeat.place == Place(3, 1) and heartbeat._thread is None


def test_a_line_is_put_together_from_its_pieces():
    one, other = socket.socketpair()
    with one, other:
        line = JsonChannel(one)
        assert line.receive() == []
        text = json.dumps([1, "ä"]).encode() + b"\n"
        other.sendall(text[:4])
        assert line.receive() == []
        other.sendall(text[4:] + b"2\n3")
        assert line.receive() == [[1, "ä"], 2]
        other.close()
        with pytest.raises(EOFError):
            line.receive()


@pytest.mark.parametrize(("device", "seconds"), [("CPU", 5 * LIMIT_S), ("Ascend", 3600.0)])
def test_a_rank_that_compiles_has_longer(monkeypatch, device, seconds):
    monkeypatch.setattr(module, "gather_over_ranks", lambda values, cluster: values[None])
    monkeypatch.setattr(module, "all_on_this_host", lambda: True)
    with Heartbeat(Cluster(0, 2, device=device), LIMIT_S) as heartbeat:
        assert heartbeat.place.patient and heartbeat._watch.patient_s == seconds
