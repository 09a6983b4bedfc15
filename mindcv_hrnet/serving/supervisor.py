"""The process that holds the listening socket, starts workers, restarts the dead, and passes signals on.

It loads no model: what kills a worker does not reach it. Connections that nobody has accepted wait in the socket, so
that a restart loses none of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from prometheus_client.multiprocess import mark_process_dead

from mindcv_hrnet.errors import ConfigError, RunError
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.serving import logs
from mindcv_hrnet.serving.settings import METRICS_VARIABLE, Settings

logger = logging.getLogger(logs.LOGGER)

BACKLOG = 2048
LONGEST_PAUSE_S = 30.0
"""Between two starts of a worker that does not stay."""
LASTING_S = 60.0
"""A worker that ran so long starts again at once."""
EXTRA_S = 5.0
"""Beyond the requests' time before a worker that was asked to end is killed."""


@dataclass
class _Worker:
    """A process, and how its place among the workers fared."""

    process: SpawnProcess
    ready: Connection
    started: float
    failures: int
    serves: bool = False
    last_words: str = ""

    def listen(self) -> int:
        """Take what it said; its exit code where it said that it cannot serve, else 0."""
        try:
            code, self.last_words = self.ready.recv() if self.ready.poll() else (0, self.last_words)
        except (EOFError, OSError):  # it ended without a word
            return RunError.exit_code
        self.serves = self.serves or not code
        return int(code)


@dataclass
class Supervisor:
    """Serves until SIGTERM or SIGINT, then until all requests in hand are answered."""

    settings: Settings
    _workers: list[_Worker] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Raises UserError where the port is taken or the model cannot be loaded."""
        logs.set_up()
        listening = _listen(self.settings.host, self.settings.port)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: self._signals.append(received))
        with tempfile.TemporaryDirectory(prefix="mindcv_hrnet-metrics-") as folder:
            os.environ[METRICS_VARIABLE] = folder
            try:
                self._workers = [self._start(listening) for _ in range(self.settings.workers)]
                self._await_first()
                host, port = listening.getsockname()[:2]
                fields = {"address": f"http://{host}:{port}", "workers": self.settings.workers}
                logger.info("serving", extra={"fields": fields})
                while not self._told_to_stop():
                    self._look_after(listening)
            finally:
                self._stop(listening)

    def _start(self, listening: socket.socket, failures: int = 0) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_enter, args=(self.settings, listening, theirs), name="worker")
        process.start()
        theirs.close()
        return _Worker(process, ours, time.monotonic(), failures)

    def _await_first(self) -> None:
        """Until the first worker serves, or says why it cannot."""
        while not self._told_to_stop() and not any(worker.serves for worker in self._workers):
            heard = wait([worker.ready for worker in self._workers], timeout=0.2)
            for worker in (worker for worker in self._workers if worker.ready in heard):
                code = worker.listen()
                if code:
                    error = RunError(worker.last_words or "a worker ended before it could serve; is the memory enough?")
                    error.exit_code = code
                    raise error

    def _look_after(self, listening: socket.socket) -> None:
        wait([worker.process.sentinel for worker in self._workers], timeout=0.2)
        for place, worker in enumerate(self._workers):
            worker.listen()
            if not worker.process.is_alive() and not self._told_to_stop():
                self._workers[place] = self._replace(worker, listening)
        if signal.SIGHUP in self._signals:
            self._signals.remove(signal.SIGHUP)
            self._tell(signal.SIGHUP)

    def _replace(self, dead: _Worker, listening: socket.socket) -> _Worker:
        """A new worker in the place of a dead one, after a pause that grows while none stays."""
        failures = 0 if time.monotonic() - dead.started > LASTING_S else dead.failures + 1
        pause = 0.0 if failures <= 1 else min(LONGEST_PAUSE_S, 0.5 * 2**failures)
        assert dead.process.pid
        fields = {"worker": dead.process.pid, "exit_code": dead.process.exitcode, "restart_in_s": pause}
        if dead.last_words:
            fields["reason"] = dead.last_words
        logger.error("worker died", extra={"fields": fields})
        mark_process_dead(dead.process.pid)
        until = time.monotonic() + pause
        while not self._told_to_stop() and time.monotonic() < until:
            time.sleep(0.05)
        return self._start(listening, failures)

    def _told_to_stop(self) -> bool:
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in self._signals)

    def _tell(self, number: int) -> None:
        """A worker that does not serve yet has no ears: SIGHUP would end it."""
        for worker in self._workers:
            if worker.process.is_alive() and worker.process.pid and (worker.serves or number == signal.SIGTERM):
                os.kill(worker.process.pid, number)

    def _stop(self, listening: socket.socket) -> None:
        """Let the workers finish what they have; kill one that does not."""
        listening.close()
        self._tell(signal.SIGTERM)
        until = time.monotonic() + self.settings.timeout_s + EXTRA_S
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _enter(settings: Settings, listening: socket.socket, ready: Connection) -> None:
    """First function in a worker process. Imported here, or the supervisor would hold the workers' libraries too."""
    from mindcv_hrnet.serving.worker import run_worker

    run_worker(settings, listening, ready)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by every connection, which asyncio does for its own sockets alone: without it the body of an answer
        # waits 40 ms for the client to acknowledge the headers
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({reason_of(error)})") from None
    return listening
