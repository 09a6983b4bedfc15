"""Requests to stop, SIGINT (Ctrl-C), SIGTERM and SIGUSR1, heard whatever the main thread is doing.

SIGUSR1 is the one that Open MPI's mpirun hands on to its ranks: on SIGINT and SIGTERM it kills them a second later.

A handler of Python runs only between two instructions of the main thread, which may be compiling for minutes. So
threads listen. While MindSpore compiles or runs a graph, it answers SIGINT with a SIGTERM to its own process; SIGINT is
blocked for all threads and taken from the system by one of ours, so that the two can be told apart.
"""

import _thread
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.progress import say_above_bars

PATIENCE_S = 3.0
# A rank whose launcher is gone may wait for one that is gone, too
ORPHAN_PATIENCE_S = 40.0
STOPS = (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
# Names of the processes that start ranks; msrun is a program of Python
_LAUNCHERS = ("mpi", "orte", "prte", "msrun", "python")


class Stopped(KeyboardInterrupt):
    """The job ends because a signal asked for it; the message says what is kept and how to go on."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum, self.message = signum, message

    @property
    def exit_code(self) -> int:
        """As a shell reports a process that a signal has ended."""
        return 128 + self.signum


class StopRequests:
    """Listens between `listen` and `close`.

    While `orderly`, the first request sets `signum` and no more: whoever runs the steps looks there, and raises Stopped
    when it suits. Otherwise, and at the second request, Stopped is raised in the main thread wherever that is, and the
    process ends by force when it has not left after `PATIENCE_S`. What MindSpore says to that is not shown.
    """

    def __init__(self) -> None:
        self._reset(speaks=True)

    def _reset(self, *, speaks: bool) -> None:
        self.signum = 0
        self.orderly = False
        self.leaving = False
        """Whether the process is on its way out, without waiting for anything."""
        self.kept = "interrupted"
        """What is told then."""
        self.cleanup: Callable[[], object] = lambda: None
        """What is done where it has to end by force."""
        self._speaks = speaks
        self._parent = 0
        self._closed = threading.Event()
        self._restore: list[Callable[[], object]] = []

    def listen(self, *, speaks: bool = True, parent: int = 0) -> None:
        """Start, in the main thread; of several ranks one `speaks`.

        Where `parent` is given and has ended when a request comes, the process has `ORPHAN_PATIENCE_S` to leave.
        Call it before MindSpore is imported: threads inherit what is blocked.
        """
        self._reset(speaks=speaks)
        self._parent = parent
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._restore.append(lambda: signal.pthread_sigmask(signal.SIG_SETMASK, blocked))
        hears, tells = socket.socketpair()
        tells.setblocking(False)
        self._restore += [hears.close, tells.close]
        before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
        self._restore.append(lambda: signal.set_wakeup_fd(before))
        for number, handler in ((signal.SIGTERM, _nothing), (signal.SIGUSR1, _nothing), (signal.SIGINT, self._raise)):
            self._restore.append(partial(signal.signal, number, signal.signal(number, handler)))
        terminate = threading.Thread(target=self._await_others, args=(hears,), name="stops", daemon=True)
        interrupt = threading.Thread(target=self._await_sigint, name="sigint", daemon=True)
        for thread in (terminate, interrupt):
            thread.start()
            self._restore.append(thread.join)
        assert interrupt.ident is not None
        self._restore += [partial(signal.pthread_kill, interrupt.ident, signal.SIGINT), partial(tells.send, b"\0")]

    def close(self) -> None:
        """Everything as it was before `listen`."""
        self._closed.set()
        while self._restore:
            self._restore.pop()()

    def _await_sigint(self) -> None:
        while signal.sigwait({signal.SIGINT}) and not self._closed.is_set():
            self._requested(signal.SIGINT)

    def _await_others(self, hears: socket.socket) -> None:
        while received := hears.recv(16):
            if self._closed.is_set():
                return
            for number in received:
                if number in (signal.SIGTERM, signal.SIGUSR1):
                    self._requested(number)

    def _requested(self, signum: int) -> None:
        first, self.signum = not self.signum, self.signum or signum
        if first and self.orderly:
            self._tell(f"{signal.Signals(signum).name}: finishing this step and saving; once more to stop at once")
            if self._parent and os.getppid() != self._parent:
                threading.Thread(target=self._end_by_force, args=(ORPHAN_PATIENCE_S,), name="end", daemon=True).start()
        elif not self.leaving:
            self.leaving = True
            self._tell(self.kept)
            _mute()
            _thread.interrupt_main(signal.SIGINT)
            threading.Thread(target=self._end_by_force, args=(PATIENCE_S,), name="end", daemon=True).start()

    def _end_by_force(self, seconds: float) -> None:
        if not self._closed.wait(seconds):
            self.cleanup()
            os._exit(128 + self.signum)

    def _raise(self, number: int, frame: Any) -> None:
        raise Stopped(self.signum or number)

    def _tell(self, message: str) -> None:
        if self._speaks:
            say_above_bars(message, sys.stderr)


stop_requests = StopRequests()


def _nothing(number: int, frame: Any) -> None:
    """The handler that a signal needs to be heard at all."""


def _mute() -> None:
    """Nothing more is shown of this process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def end_with_parent() -> None:
    """Have the system send SIGTERM when the process that started this one ends, by whatever: ranks have no life alone.

    Raises RunError where it has ended already, even before this process came to ask.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent or _takes_orphans(parent):
        raise RunError("the launcher has ended")


def _takes_orphans(pid: int) -> bool:
    """Whether this is the process to which the system gives children whose parent has ended; in a container a launcher
    may be it."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return name == "systemd" or (pid == 1 and not name.startswith(_LAUNCHERS))
