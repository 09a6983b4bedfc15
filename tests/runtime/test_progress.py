"""Bars, what stands behind them, lines above them, and lines for machines."""

import json
import logging
import math
import sys
import threading

import pytest
from terminals import Screen, terminal

from mindcv_hrnet.cli import set_up_logging
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.progress import BarText, event, fitting, progress_bar, say_above_bars, short_clock

FIELDS = [
    BarText("loss 0.1234"),
    BarText("top-1 12.3 %", 3),
    BarText("99 img/s", 2),
    BarText("left 1:00/2:00:00"),
    BarText("2 GiB", 4),
]


@pytest.fixture(autouse=True)
def _handlers():
    logger = logging.getLogger("mindcv_hrnet")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_screen_shows_what_was_written_last():
    assert Screen("ab\rc\nd  \re") == ["cb", "e"]


@pytest.mark.parametrize(
    ("room", "kept"), [(100, (0, 1, 2, 3, 4)), (60, (0, 1, 2, 3)), (50, (0, 2, 3)), (36, (0, 3)), (30, (0,)), (3, ())]
)
def test_a_narrow_terminal_leaves_out_what_matters_least(room, kept):
    texts, length = fitting(FIELDS, room)
    assert texts == [f"  {FIELDS[place].text}" for place in kept]
    assert 4 <= length <= 20 and (room < 4 or sum(map(len, texts)) + length <= room)


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_nothing_lands_on_a_bar(monkeypatch, columns):
    with terminal(monkeypatch, columns) as written:
        set_up_logging()
        logger = logging.getLogger("mindcv_hrnet.somewhere")
        bar = progress_bar(3, "epoch 1/2", Cluster())
        bar.mininterval = 0
        bar.show(FIELDS)
        for step in range(3):
            bar.update()
            logger.info("a line %d", step)
            other = threading.Thread(target=logger.warning, args=("x.jpg: damaged %d", step))
            other.start()
            other.join()
            say_above_bars("SIGTERM: finishing", sys.stderr)
        drawn = Screen(written())[-1]
        bar.close()
        screen = Screen(written())
    assert screen == [
        line for step in range(3) for line in (f"a line {step}", f"x.jpg: damaged {step}", "SIGTERM: finishing")
    ] + [""]
    assert drawn.startswith("epoch 1/2 ") and "3/3  loss 0.1234" in drawn and len(drawn) < columns
    assert ("2 GiB" in drawn, "top-1" in drawn) == (columns == 200, columns > 50)


def test_there_is_no_bar_where_nobody_watches(monkeypatch, capsys):
    progress_bar(3, "epoch 1/2", Cluster()).update()
    with terminal(monkeypatch, 80) as written:
        progress_bar(3, "epoch 1/2", Cluster(rank=1, size=2)).update()
        assert written() == ""
    assert capsys.readouterr().err == ""


def test_a_line_for_machines_is_one_json_object(capsys):
    set_up_logging("json")
    logger = logging.getLogger("mindcv_hrnet.somewhere")
    logger.warning("x\n.jpg: %s", "damaged")
    logger.info("loss nan", extra=event("step", loss=math.nan, step=3, gradient_norm=None))
    notice, step = map(json.loads, capsys.readouterr().out.splitlines())
    assert notice.pop("time") <= step.pop("time")
    assert notice == {"kind": "notice", "level": "warning", "message": "x\n.jpg: damaged"}
    assert step == {"kind": "step", "loss": None, "step": 3, "gradient_norm": None}


def test_ranks_name_themselves_to_machines_too(monkeypatch, capsys):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    set_up_logging("json")
    logging.getLogger("mindcv_hrnet").warning("here")
    assert json.loads(capsys.readouterr().out)["rank"] == 1


@pytest.mark.parametrize(("seconds", "text"), [(4, "0:04"), (123, "2:03"), (754.6, "12:35"), (3600, "1:00:00")])
def test_short_clock(seconds, text):
    assert short_clock(seconds) == text
