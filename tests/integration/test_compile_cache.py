"""What MindSpore compiles and what it takes from the cache folder, as it says in its own log."""

import itertools
import subprocess
import zipfile

import pytest

from integration.conftest import RECIPE, mpirun

pytestmark = pytest.mark.slow

TAKEN = "Use the compilation cache and execute the backend actions only"
COMPILED = "Execute all the compilation actions"
ARGUMENTS = ("--val_while_train", "True", "--epoch_size", "1", "--warmup_epochs", "0", "--decay_epochs", "1")


@pytest.fixture
def start(workplace, few_digits, tmp_path, monkeypatch):
    """A function (*arguments) -> (graphs taken, graphs compiled, metrics) of a training run on one cache folder."""
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOG_v", "2")

    numbers = itertools.count()

    def line(run, *arguments):
        given = "-c", RECIPE, "--data_dir", few_digits, "--ckpt_save_dir", tmp_path / run, "--batch_size", 8
        return "tests/helpers/sketch_job.py", "train", *given, *ARGUMENTS, *arguments

    def read(run, code, out, err):
        assert code == 0, err
        row = (tmp_path / run / "metrics.csv").read_text().splitlines()[1].split(",")
        text = out + err
        return text.count(TAKEN), text.count(COMPILED), [row[i] for i in (2, 3, 7, 9)], text

    def begin(*arguments, launcher=()):
        run = f"start{next(numbers)}"
        outcome = workplace.run(*line(run, *arguments), launcher=launcher)
        return read(run, outcome.code, outcome.out, outcome.err)[:3]

    vars(begin).update(cache=tmp_path / "cache", line=line, read=read, place=workplace)
    return begin


def test_a_second_start_compiles_nothing(start):
    taken, compiled, first = start()
    assert (taken, compiled) == (0, 2)  # a graph to train and one to evaluate
    assert start() == (2, 0, first)
    fewer = ("--lr", "0.01", "--num_samples", "16")
    taken, compiled, other = start(*fewer, "--epoch_size", "2", "--ckpt_path", "")
    assert (taken, compiled) == (2, 0) and other != first
    assert start(*fewer, "--compile_cache", "False") == (0, 0, other)
    assert start("--label_smoothing", "0.2")[:2] == (0, 2)


def test_processes_that_start_together_have_the_results_of_one(start):
    lines = [start.place.line(*start.line(f"run{number}")) for number in (0, 1)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": start.place.folder}
    running = [subprocess.Popen(line, env=start.place.environment(), **options) for line in lines]
    printed = [(process.communicate(timeout=300), process.returncode) for process in running]
    results = [start.read(f"run{number}", code, *streams)[:3] for number, (streams, code) in enumerate(printed)]
    assert results[0][2] == results[1][2]
    assert start() == (2, 0, results[0][2])
    assert len(list(start.cache.glob("compiled-*"))) == 1


def test_a_graph_that_mindspore_cannot_read_is_compiled(start):
    first = start()
    (file,) = start.cache.glob("compiled-*")
    with zipfile.ZipFile(file) as stored:
        contents = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(file, "w") as stored:
        for name, content in contents.items():
            stored.writestr(name, content[: len(content) // 2] if name.endswith(".mindir") else content)
    assert start()[2] == first[2]
    assert start() == (2, 0, first[2])


def test_another_split_of_present_classes_is_no_other_graph(start, few_digits, tmp_path):
    start()
    for split, classes in (("low", range(5)), ("high", range(5, 10))):
        for name in map(str, classes):
            (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / split / name).symlink_to(few_digits / "val" / name)
    run = tmp_path / "start0"

    def score(split, *arguments):
        options = (
            "--ckpt_path",
            run,
            "--data_dir",
            tmp_path / "data",
            "--val_split",
            split,
            "--present_classes",
            "True",
        )
        outcome = start.place.run(
            "tests/helpers/sketch_job.py", "validate", "-c", run / "config.yaml", *options, *arguments
        )
        assert outcome.code == 0, outcome.err
        return outcome.out.splitlines()[-1].rpartition("  ")[0], (outcome.out + outcome.err).count(TAKEN)

    low, taken = score("low")
    assert taken == 0
    high, taken = score("high")
    assert taken == 1 and high != low
    assert (high, 0) == score("high", "--compile_cache", "False")


@pytest.mark.ranks
def test_each_rank_has_its_own_graphs(start):
    taken, compiled, first = start(launcher=mpirun(2))
    assert (taken, compiled) == (0, 4)
    assert len(list(start.cache.glob("compiled-*"))) == 2
    assert start(launcher=mpirun(2)) == (4, 0, first)
