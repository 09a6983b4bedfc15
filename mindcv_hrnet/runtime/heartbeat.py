"""Signs of life between the ranks of a job: one that hangs is named, and the others end.

A collective waits an hour for a rank that is stopped or cut off, and then says nothing of it. So a thread of each rank
tells the first rank every second where it is, and the first one answers. Lines of JSON over TCP: to a port that the
first rank opens, and tells the others by a collective together with a password.
"""

import errno
import hmac
import json
import logging
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any

import numpy as np

from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import (
    LOOPBACK,
    Cluster,
    all_on_this_host,
    gather_over_ranks,
    leave_job,
    own_addresses,
)
from mindcv_hrnet.runtime.signals import Stopped, stop_requests
from mindcv_hrnet.runtime.watch import PATIENT_S, PATIENT_TIMES, Place, Watch

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
CONNECT_S = 5.0
ANSWER_S = 30.0
LONGEST_LINE = 1024
MOST_ADDRESSES = 8
MOST_GUESTS = 64  # connections that have not said who they are
WORDS = 4  # of 16 bits, which travel as float32
LEAVES = "leaves"
# What a connection says of a host that is out of reach: no sign of life, like silence
CUT_OFF = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


class JsonChannel:
    """A connection that carries values as lines of JSON. Nothing here waits, once it is made."""

    def __init__(self, connection: socket.socket):
        connection.setblocking(False)
        self.socket, self._rest = connection, b""

    def send(self, value: object) -> None:
        """Where a line does not fit, the other side does not read: it is passed over. Raises OSError."""
        with suppress(BlockingIOError):
            self.socket.send(json.dumps(value).encode() + b"\n")

    def receive(self) -> list[Any]:
        """What has come. Raises OSError or ValueError; EOFError where the other side has ended."""
        try:
            received = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        if not received:
            raise EOFError("its end of the connection is closed")
        *lines, self._rest = (self._rest + received).split(b"\n")
        if any(len(line) > LONGEST_LINE for line in (*lines, self._rest)):
            raise ValueError("a line that is too long")
        return [json.loads(line) for line in lines]


class Heartbeat(AbstractContextManager["Heartbeat"]):
    """Within it a rank is watched, and watches: the first one all others, each of those the first one.

    After `limit_s` without a sign of life from a rank this process, and with it the job, ends with an error that names
    it; 0: never. `record` is given the error's text for a log, `advice` is added to it: how to go on.
    """

    def __init__(self, cluster: Cluster, limit_s: float, record: Callable[[str], object] = str):
        self.cluster, self.limit_s, self.record = cluster, limit_s, record
        self.place = Place(patient=True)
        self.advice = ""
        self._in_order = False
        self._lines: dict[int, JsonChannel] = {}
        self._closed = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._wakes, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None

    def tell(self, place: Place) -> None:
        """Where this rank is now. Cheap."""
        self.place = place

    def next_batch(self) -> None:
        """A batch of a validation is done."""
        self.place = self.place._replace(batch=self.place.batch + 1, patient=False)

    def __enter__(self) -> "Heartbeat":
        if self.cluster.size == 1 or not self.limit_s:
            return self
        self.interval = min(INTERVAL_S, self.limit_s / 5)
        patient_s = PATIENT_TIMES * self.limit_s if self.cluster.device == "CPU" else PATIENT_S
        self._watch = Watch(self.limit_s, time.monotonic(), patient_s)
        listener = _listen() if self.cluster.is_main else None
        self._password, port, addresses = _agree(listener, self.cluster)
        self._selector.register(self._woken, selectors.EVENT_READ)
        if listener:
            self._guests: dict[socket.socket, JsonChannel] = {}
            self._watch.add(0, socket.gethostname(), os.getpid(), time.monotonic())
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
            self._listener = listener
        elif not self._connect(port, addresses):
            logger.warning(
                "rank %d: cannot reach the first rank at %s, port %d; should this rank hang, the others will not know",
                *(self.cluster.rank, " or ".join(addresses), port),
            )
            return self
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave; whoever leaves with an error says nothing, and is found to have ended."""
        if self._thread:
            self._in_order = error is None or isinstance(error, Stopped)
            self._closed.set()
            self._wakes.send(b"\0")
            self._thread.join()
        for end in (self._wakes, self._woken, self._selector):
            end.close()

    def _run(self) -> None:
        told = 0.0
        try:
            while not self._closed.is_set():
                for key, _ in self._selector.select(self.interval):
                    if key.data:
                        key.data()
                now = time.monotonic()
                if now - told >= self.interval:
                    told = now
                    self._tell_all([*self.place])
                self._judge(now)
        except Exception:  # a defect here is no reason to end a job
            logger.exception("the heartbeat has ended; ranks that hang are not noticed")
            self._in_order = True
        finally:
            if self._in_order:
                self._tell_all(LEAVES)
            for line in self._lines.values():
                line.socket.close()
            if self.cluster.is_main:
                self._listener.close()

    def _judge(self, now: float) -> None:
        watch = self._watch
        if self.cluster.is_main:
            watch.hear(0, self.place, now)
            if news := watch.news(now):
                logger.warning("%s", news)
        text, ends = watch.stuck(now)
        found = watch.look(now) or (text if ends else "")
        if found:
            if self.cluster.is_main:
                self._tell_all({"end": found})
            # where the first rank is the silent one, the second speaks for all
            self._end(found, speaker=0 if self.cluster.is_main else 1)

    def _end(self, found: str, *, speaker: int) -> None:
        """End this process without its main thread, which waits in a collective."""
        self._closed.set()
        message = f"error: {found}{self.advice and '; ' + self.advice}"
        self.record(message)
        stop_requests.cleanup()
        leave_job(RunError.exit_code, message, speaker=speaker)

    def _tell_all(self, value: object) -> None:
        for rank in list(self._lines):
            try:
                self._lines[rank].send(value)
            except OSError as error:
                self._lose(rank, error)

    def _lose(self, rank: int, error: Exception) -> None:
        line = self._lines.pop(rank)
        self._selector.unregister(line.socket)
        line.socket.close()
        if getattr(error, "errno", None) not in CUT_OFF:
            self._watch.lose(rank, str(error), time.monotonic())

    def _hear(self, rank: int) -> None:
        """What `rank` has sent."""
        try:
            for value in self._lines[rank].receive():
                self._take(rank, value)
        except (OSError, ValueError, TypeError, EOFError) as error:
            if rank in self._lines:
                self._lose(rank, error)

    def _take(self, rank: int, value: Any) -> None:
        now = time.monotonic()
        if value == LEAVES:
            self._watch.forget(rank)
        elif isinstance(value, dict):
            self._end(str(value["end"]), speaker=0)
        elif rank in self._watch.peers:
            step, batch, inside, patient = value
            self._watch.hear(rank, Place(int(step), int(batch), bool(inside), bool(patient)), now)

    # The first rank's side

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            if len(self._guests) == MOST_GUESTS:
                self._dismiss(next(iter(self._guests)))
            self._guests[connection] = JsonChannel(connection)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._greet(connection))

    def _dismiss(self, connection: socket.socket) -> None:
        del self._guests[connection]
        self._selector.unregister(connection)
        connection.close()

    def _greet(self, connection: socket.socket) -> None:
        """The first line of a connection says who it is; whoever does not know the password is sent away."""
        line = self._guests[connection]
        try:
            words = line.receive()
            if not words:
                return
            password, number, host, pid = words[0]
            rank = int(number)
            if not hmac.compare_digest(str(password), self._password) or not 0 < rank < self.cluster.size:
                raise ValueError("a stranger")
            self._watch.add(rank, str(host), int(pid), time.monotonic())
            line.send([socket.gethostname(), os.getpid()])
        except (OSError, ValueError, TypeError, EOFError):
            self._dismiss(connection)
            return
        del self._guests[connection]
        self._lines[rank] = line
        self._selector.modify(connection, selectors.EVENT_READ, lambda: self._hear(rank))

    # The other ranks' side

    def _connect(self, port: int, addresses: list[str]) -> bool:
        """Join the first rank at whichever of its addresses answers."""
        for address in addresses:
            with suppress(OSError, ValueError, TypeError, EOFError):
                connection = socket.create_connection((address, port), CONNECT_S)
                try:
                    hello = [self._password, self.cluster.rank, socket.gethostname(), os.getpid()]
                    connection.sendall(json.dumps(hello).encode() + b"\n")
                    connection.settimeout(ANSWER_S)
                    with connection.makefile("rb") as answer:
                        host, pid = json.loads(answer.readline(LONGEST_LINE))
                except BaseException:
                    connection.close()
                    raise
                self._lines[0] = JsonChannel(connection)
                self._watch.add(0, str(host), int(pid), time.monotonic())
                self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(0))
                return True
        return False


def _listen() -> socket.socket:
    listener = socket.create_server((LOOPBACK if all_on_this_host() else "", 0), backlog=256)
    listener.setblocking(False)
    return listener


def _agree(listener: socket.socket | None, cluster: Cluster) -> tuple[str, int, list[str]]:
    """(password, port, addresses) of the first rank's listener; all ranks call it together."""
    row = np.zeros(WORDS + 2 + 4 * MOST_ADDRESSES, np.float32)
    if listener:
        numbers = [secrets.randbelow(1 << 16) for _ in range(WORDS)]
        addresses = [LOOPBACK] if all_on_this_host() else [*own_addresses()[: MOST_ADDRESSES - 1], LOOPBACK]
        octets = [int(part) for address in addresses for part in address.split(".")]
        given = [*numbers, listener.getsockname()[1], len(octets), *octets]
        row[: len(given)] = given
    *words, port, count = (given := [int(number) for number in gather_over_ranks(row, cluster)[0]])[: WORDS + 2]
    octets = given[WORDS + 2 :]
    addresses = [".".join(map(str, octets[place : place + 4])) for place in range(0, count, 4)]
    return "".join(f"{word:04x}" for word in words), port, addresses
