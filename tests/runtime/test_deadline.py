"""An error on MindSpore's queue thread, which the main thread never hears of, ends the process all the same."""

import logging
import threading

import pytest

from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.deadline import SECONDS, Deadline


@pytest.fixture
def ended():
    """(an event, the codes with which the process would have ended); the event's flag tells that it did."""
    codes, event = [], threading.Event()
    return event, codes, lambda code: (codes.append(code), event.set())


def test_the_error_is_logged_at_once_and_the_process_ends_in_time(ended, caplog, capsys):
    event, codes, leave = ended
    deadline = Deadline(seconds=0.2, leave=leave)
    deadline.start(DataError("a.jpg: damaged"))
    assert [record.getMessage() for record in caplog.records] == ["a.jpg: damaged; the run ends within 0.2 s"]
    assert caplog.records[0].levelno == logging.ERROR and codes == []
    deadline.start(DataError("b.jpg: damaged"))  # the first one counts
    assert event.wait(5) and codes == [DataError.exit_code]
    assert capsys.readouterr().err == "error: a.jpg: damaged\n"


def test_a_defect_ends_with_its_traceback(ended, capsys):
    event, codes, leave = ended
    try:
        raise KeyError("x")
    except KeyError as error:
        Deadline(seconds=0.01, leave=leave).start(error)
    assert event.wait(5) and codes == [1]
    assert "Traceback" in (shown := capsys.readouterr().err) and shown.endswith("KeyError: 'x'\n")


def test_an_error_that_was_raised_after_all_ends_nothing(ended):
    event, codes, leave = ended
    deadline = Deadline(seconds=0.1, leave=leave)
    deadline.cancel()
    deadline.start(DataError("a.jpg: damaged"))
    deadline.cancel()
    assert not event.wait(0.3) and codes == []


def test_the_stated_time_is_far_below_what_the_framework_waits():
    assert SECONDS == 60
