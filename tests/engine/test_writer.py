"""Writing beside the steps: in order, one at a time, tried again once."""

import logging
import threading

import pytest

from mindcv_hrnet.engine import writer as module
from mindcv_hrnet.engine.writer import Writer
from mindcv_hrnet.errors import RunError


class Disk:
    """Refuses the first `failures` writes."""

    def __init__(self, failures):
        self.failures, self.written = failures, []

    def write(self, what):
        def act():
            if self.failures:
                self.failures -= 1
                raise RunError("disk: cannot be written (No space left on device)")
            self.written.append(what)

        return act


def test_the_steps_go_on_meanwhile_and_the_next_write_waits():
    writer, release, order = Writer(), threading.Event(), []

    def slow():
        assert release.wait(20)
        order.append("slow")

    writer.hand_over(slow)
    assert writer.busy and order == []
    threading.Timer(0.05, release.set).start()
    writer.hand_over(lambda: order.append("next"))
    writer.finish()
    assert order == ["slow", "next"] and not writer.busy


def test_a_write_that_fails_once_is_told_and_done_before_the_next(caplog):
    disk, writer = Disk(1), Writer()
    writer.hand_over(disk.write("first"))
    writer.wait()
    writer.look_after()  # not time yet
    assert disk.written == []
    assert caplog.messages == [
        "disk: cannot be written (No space left on device). Training goes on, and tries again in 30 s"
    ]
    assert caplog.records[0].levelno == logging.WARNING
    writer.hand_over(disk.write("second"))
    writer.finish()
    assert disk.written == ["first", "second"]


def test_a_write_that_fails_once_is_done_when_it_is_time(monkeypatch):
    disk, writer = Disk(1), Writer()
    writer.hand_over(disk.write("first"))
    writer.wait()
    monkeypatch.setattr(module, "RETRY_AFTER_S", 0.0)
    writer.look_after()
    assert disk.written == ["first"]


@pytest.mark.parametrize("again", ["hand_over", "finish"])
def test_a_write_that_fails_twice_ends_the_run(again):
    disk, writer = Disk(2), Writer()
    writer.hand_over(disk.write("first"))
    with pytest.raises(RunError, match="No space left"):
        writer.hand_over(disk.write("second")) if again == "hand_over" else writer.finish()
    assert disk.written == []


def test_a_defect_is_raised_where_the_steps_are():
    writer = Writer()
    writer.hand_over(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.finish()
