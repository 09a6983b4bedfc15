"""Pages of made-up runs."""

import numpy as np
import pytest
from made_up_runs import write_answers, write_run
from PIL import Image

from mindcv_hrnet.jobs import report

NAMES = ("<script>alert(1)", "ant", 'dog "& cat', "eel", "fox", "gnu")


@pytest.fixture(scope="session")
def write_report():
    """A function (run folders, words of a command line) -> the text of the page."""

    def write(folders, out, *words):
        report.run(report.parse([*map(str, folders), "--out", str(out), *map(str, words)]))
        return out.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Train and val, three grey images of each class."""
    place = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        for label, name in enumerate(NAMES):
            (place / split / name).mkdir(parents=True)
            for number in range(3):
                path = place / split / name / f"{3 * label + number:06d}.png"
                Image.fromarray(np.full((40, 50, 3), 40 * label, np.uint8)).save(path)
    return place


@pytest.fixture(scope="session")
def names():
    """Classes of `data`, in its order."""
    return NAMES


@pytest.fixture(scope="session")
def page(tmp_path_factory, data, names, write_report):
    """(path, text) of the page of one run, from a file of predictions."""
    place = tmp_path_factory.mktemp("one")
    run = write_run(place / "my run", names, data_dir=data)
    answers = write_answers(place / "answers.csv", names, 3, right=0.5)
    return place / "a.html", write_report([run], place / "a.html", "--predictions", answers)


@pytest.fixture(scope="session")
def two(tmp_path_factory, data, names, write_report):
    """(path, text) of the page of two runs."""
    place = tmp_path_factory.mktemp("two")
    runs = [write_run(place / f"lr-{lr}", names, data_dir=data, lr=lr) for lr in (1e-3, 3e-4)]
    answers = [write_answers(place / f"{seed}.csv", names, 3, right=0.5, seed=seed) for seed in (0, 1)]
    return place / "b.html", write_report(runs, place / "b.html", "--predictions", *answers)
