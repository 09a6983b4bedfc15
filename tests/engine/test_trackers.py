"""Where the numbers of a run go: the step file, TensorBoard's files, and that none of them can end the run."""

import io
import logging
from dataclasses import replace

import numpy as np
import pytest
from event_files import events_of, shown
from PIL import Image

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.engine.rows import EpochRow, StepRow
from mindcv_hrnet.engine.trackers import tensorboard
from mindcv_hrnet.engine.trackers.first_images import first_images
from mindcv_hrnet.engine.trackers.step_file import StepFile
from mindcv_hrnet.engine.trackers.tensorboard import TensorBoard
from mindcv_hrnet.engine.trackers.tracker import Start, Tracker, Trackers, scalars
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig

ROW = StepRow(epoch=1, step=2, loss=0.5, top1=25.0, learning_rate=0.1, loss_scale=8.0)
EPOCH = EpochRow(epoch=1, step=2, learning_rate=0.1, train_loss=0.5, train_top1=25.0, top1=50.0)
RECIPE = {"lr": 0.1, "model": "hrnet_w32", "scale": (0.1, 1.0), "ema": False, "jit_level": None}


def start(first_step=0):
    return Start("run", RECIPE, first_step)


def rows(*steps):
    return [replace(ROW, step=step) for step in steps]


def steps_in(path):
    return [int(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]


# --- steps.csv -----------------------------------------------------------------------------------------------------


def test_a_row_of_the_step_file(tmp_path):
    file = StepFile(tmp_path / "steps.csv", 0)
    file.step(replace(ROW, loss=float("nan"), images_per_second=1 / 3))
    assert (tmp_path / "steps.csv").read_text() == (
        "epoch,step,loss,top1,learning_rate,loss_scale,gradient_norm,images_per_second,data_wait,device_memory_gib\n"
        "1,2,nan,25,0.1,8,,0.33333333,,\n"
    )


@pytest.mark.parametrize(("first_step", "kept"), [(0, []), (2, [1, 2]), (3, [1, 2]), (9, [1, 2, 25])])
def test_a_run_that_goes_on_keeps_whole_rows_up_to_its_state(tmp_path, first_step, kept):
    path = tmp_path / "steps.csv"
    for row in rows(1, 2, 25):
        StepFile(path, row.step - 1).step(row)
    path.write_text(path.read_text() + "1,4,0.5,25,0.1,8,,0")  # cut off by a kill
    file = StepFile(path, 25 if first_step == 9 else first_step)
    assert steps_in(path) == kept
    file.step(replace(ROW, step=30))
    assert steps_in(path) == [*kept, 30]


def test_rows_that_the_disk_refuses_come_with_the_next(tmp_path, caplog):
    (tmp_path / "gone").mkdir()
    file = StepFile(tmp_path / "gone/steps.csv", 0)
    (tmp_path / "gone").rmdir()
    for row in rows(1, 2):
        file.step(row)
    (tmp_path / "gone").mkdir()
    file.step(replace(ROW, step=3))
    assert steps_in(tmp_path / "gone/steps.csv") == [1, 2, 3]
    assert len(caplog.messages) == 1 and "cannot be written (No such file or directory); tried again" in caplog.text


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "\xff"])
def test_what_is_no_step_file(tmp_path, text):
    (tmp_path / "steps.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(RunError, match=r"steps.csv: not the steps of a run \(.*\); remove the file"):
        StepFile(tmp_path / "steps.csv", 3)


# --- TensorBoard ---------------------------------------------------------------------------------------------------


def test_curves_are_named_and_empty_cells_have_none():
    assert scalars(ROW) == {"train/loss": 0.5, "train/top1": 25.0, "train/learning_rate": 0.1, "train/loss_scale": 8.0}
    assert {"val/top1": 50.0, "epoch/train_top1": 25.0}.items() <= scalars(EPOCH).items()
    assert not {"val/top5", "val/loss"} & set(scalars(EPOCH))


def test_events_are_what_tensorboard_reads(tmp_path):
    board = TensorBoard(tmp_path / "events", start())
    board.step(ROW)
    board.epoch(EPOCH)
    board.images(np.full((8, 16, 3), 200, np.uint8))
    points = shown(tmp_path / "events")
    assert points["train/loss"] == [(2, 0.5)] and points["val/top1"] == [(2, 50.0)]
    ((_, session),) = points["_hparams_/session_start_info"]
    assert b"hrnet_w32" in session and b"(0.1, 1.0)" in session
    assert b"| lr | 0.1 |" in points["recipe/text_summary"][0][1]
    (path,) = (tmp_path / "events").iterdir()
    (picture,) = (value.image for event in events_of(path) for value in event.summary.value if value.HasField("image"))
    assert (picture.height, picture.width) == (8, 16)
    assert Image.open(io.BytesIO(picture.encoded_image_string)).size == (16, 8)


def test_a_run_that_goes_on_continues_its_curves_without_double_points(tmp_path):
    board = TensorBoard(tmp_path, start())
    for row in rows(2, 4, 6):
        board.step(row)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # the last record is cut off
    board = TensorBoard(tmp_path, start(first_step=3))
    assert not board.begins
    for row in rows(4, 6):
        board.step(row)
    assert [step for step, _ in shown(tmp_path)["train/loss"]] == [2, 4, 6]
    assert len(shown(tmp_path)["_hparams_/experiment"]) == 1
    board = TensorBoard(tmp_path, start())  # nothing was saved: the run begins anew
    board.step(replace(ROW, step=2))
    assert board.begins and [len(points) for points in shown(tmp_path).values()] == [1] * len(shown(tmp_path))


def test_files_are_in_order_whatever_the_clock_says(tmp_path, monkeypatch):
    for now in (2000, 1000, 1000):
        monkeypatch.setattr(tensorboard.time, "time", lambda now=now: float(now))
        TensorBoard(tmp_path, start(first_step=3))
    assert [path.name.split(".")[3] for path in sorted(tmp_path.iterdir())] == [
        "0000002000",
        "0000002001",
        "0000002002",
    ]


def test_events_that_the_disk_refuses_come_in_a_file_of_their_own(tmp_path, monkeypatch, caplog):
    board = TensorBoard(tmp_path / "events", start())
    board.step(ROW)
    with monkeypatch.context() as patch:
        patch.setattr(board, "path", tmp_path)  # a folder cannot be written
        for row in rows(3, 4):
            board.step(row)
            board.path = tmp_path
    board._choose_file()
    board.step(replace(ROW, step=5))
    assert [step for step, _ in shown(tmp_path / "events")["train/loss"]] == [2, 3, 4, 5]
    assert len(list((tmp_path / "events").iterdir())) == 2
    assert len(caplog.messages) == 1 and "cannot be written (Is a directory); tried again" in caplog.text


def test_the_first_images_are_those_of_the_first_batch(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("ant/1.png", "ant/2.png", "bee/1.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "train" / name)
    settings = AugmentationConfig(image_resize=32, re_prob=1.0, cutmix=1.0)
    loader = TrainLoader(ImageFolder(tmp_path / "train"), DataConfig(batch_size=3), settings, seed=0)
    head, batch = loader.head(2), next(loader.batches(0))
    assert (head.images == batch.images[:2]).all() and (head.labels == batch.labels[:2]).all()
    sheet = first_images(loader)
    loader.close()
    assert sheet.shape[2] == 3 and sheet.dtype == np.uint8
    y0, x0, y1, x1 = head.erase[0].tolist()
    middle = (4 + 5 * ((y0 + y1) // 2), 4 + 5 * ((x0 + x1) // 2))  # a pixel takes five of the tile's
    assert sheet[middle].tolist() == [124, 116, 104]


# --- all of them ---------------------------------------------------------------------------------------------------


def test_a_tracker_that_fails_is_told_nothing_more(caplog):
    class Service(Tracker):
        told = 0

        def step(self, row):
            self.told += 1
            raise ConnectionError("no route")

    class Counter(Tracker):
        told = 0

        def step(self, row):
            self.told += 1

    service, counter = Service(), Counter()
    trackers = Trackers([service, counter])
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        for row in rows(1, 2):
            trackers.step(row)
        trackers.close()
    assert (service.told, counter.told) == (1, 2)
    assert caplog.messages == ["Service: is told nothing more (no route); the run goes on"]
