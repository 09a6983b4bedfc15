"""Requests to stop, in processes of their own: they reach a main thread that is busy with anything."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from mindcv_hrnet import cli
from mindcv_hrnet.runtime import signals

START = """
import ctypes, os, signal, sys, time
from mindcv_hrnet.runtime import signals
from mindcv_hrnet.runtime.signals import Stopped, end_with_parent, stop_requests

assert signals.PATIENCE_S == 3  # a test waits less
signals.PATIENCE_S = 0.5
"""
PROGRAM = """
stop_requests.listen()
assert "numpy" not in sys.modules  # whose threads would take SIGINT
stop_requests.kept = "all is kept"
stop_requests.cleanup = lambda: print("cleaned", flush=True)
try:
    print("ready", flush=True)
    WORK
except Stopped as stopped:
    print("stopped", stopped.exit_code, flush=True)
    code = stopped.exit_code
stop_requests.close()
sys.exit(code)
"""
IN_PYTHON = "time.sleep(60)"
# No instruction of Python is done meanwhile, and every call is taken up again
IN_C = "[ctypes.CDLL(None).sleep(20) for _ in range(3)]"
IN_STEPS = """
    stop_requests.orderly = True
    while not stop_requests.signum:
        time.sleep(0.01)
    print("finishing the step", flush=True)
    time.sleep(float(os.environ["STEP"]))
    raise Stopped(stop_requests.signum)
"""


@pytest.fixture
def start():
    """A function (work) -> the process once it works."""
    processes = []

    def run(work, step="0"):
        process = subprocess.Popen(
            [sys.executable, "-c", START + PROGRAM.replace("WORK", work)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "STEP": step},
            # as in a terminal: a shell's background jobs ignore SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_without_steps_the_process_leaves_at_once(start, number, code):
    process = start(IN_PYTHON)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "all is kept\n")  # what follows is not shown


def test_a_main_thread_that_hears_nothing_is_ended_by_force(start):
    process = start(IN_C)
    time.sleep(0.5)  # it says that it is ready before it is in C
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (143, "all is kept\n")
    assert 0.4 < time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGUSR1, 138, "SIGUSR1")],
)
def test_steps_end_in_order(start, number, code, name):
    process = start(IN_STEPS)
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, f"finishing the step\nstopped {code}\n")
    assert err == f"{name}: finishing this step and saving; once more to stop at once\n"


def test_a_second_request_stops_at_once(start):
    process = start(IN_STEPS, step="60")
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "finishing the step\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143 and err.endswith("once more to stop at once\nall is kept\n")


def test_a_process_ends_with_the_one_that_started_it():
    child = START + "end_with_parent(); print('ready', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    process.kill()
    process.wait()
    assert process.stdout.read() == ""  # the last of the two has closed it
    assert time.monotonic() - begun < 20
    process.stdout.close()


@pytest.mark.parametrize("orderly", [True, False])
def test_a_rank_whose_launcher_is_gone_does_not_wait_for_ever(orderly):
    """What the launcher read is a broken pipe, as under mpirun: nothing can be told any more."""
    child = (
        START
        + f"""
signals.ORPHAN_PATIENCE_S = 0.5
end_with_parent()
stop_requests.listen(parent=os.getppid())
stop_requests.orderly = {orderly}
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})  # of this thread, which nothing disturbs then
sleep = ctypes.CDLL(None).sleep
os.write(int(sys.argv[1]), b"ready")
sleep(60)  # in a collective with a rank that is gone
"""
    )
    parent = (
        "import subprocess, sys; pipe = subprocess.PIPE; subprocess.Popen([sys.executable, '-c', "
        f"{child!r}, sys.argv[1]], stdout=pipe, stderr=pipe, pass_fds=[int(sys.argv[1])]).wait()"
    )
    reads, writes = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", parent, str(writes)], pass_fds=[writes])
    os.close(writes)
    assert os.read(reads, 10) == b"ready"
    time.sleep(0.2)  # until it is in C
    begun = time.monotonic()
    process.kill()
    process.wait()
    assert os.read(reads, 10) == b""  # the child has ended
    assert 0.4 < time.monotonic() - begun < 20
    os.close(reads)


def test_a_rank_whose_launcher_ended_before_it_asked_does_not_begin():
    """Its parent is then whoever takes orphans; here the first process of the machine, or of its user."""
    child = (
        START
        + """
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
try:
    end_with_parent()
except ValueError as error:
    print(error, flush=True)
"""
    )
    parent = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])"
    assert subprocess.check_output([sys.executable, "-c", parent], text=True) == "the launcher has ended\n"


def test_a_launcher_that_is_the_first_process_of_a_container_takes_no_orphans(monkeypatch):
    names = {1: "prterun", 7: "bash", 8: "systemd"}
    monkeypatch.setattr(signals.Path, "read_text", lambda self, encoding: names[int(self.parts[2])] + "\n")
    assert [signals._takes_orphans(pid) for pid in names] == [False, False, True]
    names[1] = "tini"
    assert signals._takes_orphans(1)


def test_the_command_line_says_that_the_launcher_has_ended(monkeypatch, capfd):
    monkeypatch.setattr(signals, "_takes_orphans", lambda pid: True)
    monkeypatch.setattr(signals.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *words: 0))
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.delenv("MS_ROLE", raising=False)
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    assert cli.guarded(lambda: left.append("worked")) == 5 and left == [5]
    assert capfd.readouterr().err == "[rank 0] error: the launcher has ended\n"
