"""Several ranks on one CPU: mpirun and msrun."""

import csv
import json
import re
import socket

import mindspore as ms
import numpy as np
import observables as see
import pytest
from ranks import train_steps

from integration.conftest import RECIPE, SHORT, Workplace, mpirun
from integration.test_commands import counts
from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.weights import read_entries

pytestmark = [pytest.mark.slow, pytest.mark.ranks]


def results(text):
    return [json.loads(line.partition("RESULT ")[2]) for line in text.splitlines() if "RESULT " in line]


def msrun(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--worker_num=2", "--local_worker_num=2", "--join=True", f"--log_dir={folder}", f"--master_port={port}")
    return ("msrun", *options)


@pytest.fixture
def alone(pynative):
    """A function (kind) -> the values of tests/helpers/ranks.py, of one rank, in this process and in graph mode."""

    def values(kind):
        ms.set_context(mode=ms.GRAPH_MODE)
        return np.array(train_steps(kind, Cluster())["values"])

    return values


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """kind: what tests/helpers/ranks.py tells of the first and of the second of two ranks."""
    kinds = ("linear", "accumulated", "synced", "unsynced", "overflow")
    place = Workplace(tmp_path_factory.mktemp("standing-here"))
    outcome = place.run("tests/helpers/ranks.py", *kinds, launcher=mpirun(2))
    assert outcome.code == 0, outcome.err
    found = {kind: [result for result in results(outcome.out) if result["kind"] == kind] for kind in kinds}
    for pair in found.values():
        pair.sort(key=lambda result: result["rank"])
        assert [(result["rank"], result["size"]) for result in pair] == [(0, 2), (1, 2)]
    return found


@pytest.mark.parametrize("kind", ["linear", "accumulated"])
def test_two_ranks_take_the_steps_of_one_with_the_large_batch(two_ranks, alone, kind):
    first, second = (np.array(result["values"]) for result in two_ranks[kind])
    expected = alone(kind)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected, atol=1e-7)
    assert np.abs(expected).max() > 1e-3


def test_an_overflow_on_one_rank_skips_the_update_on_all(two_ranks):
    """Also where the sums stay finite, as on devices that saturate."""
    first, second = two_ranks["overflow"]
    assert first["values"] == second["values"] and not np.any(first["values"])
    assert first["totals"][:3] == second["totals"][:3] == [0.0, 0, 3]
    assert first["scale"] == second["scale"] == 8


def test_one_bit_of_a_weight_that_differs_ends_the_run(workplace):
    outcome = workplace.run("tests/helpers/ranks.py", "drifted", launcher=mpirun(2))
    assert outcome.code == 5
    assert "rank 1: weights differ from the other ranks' after epoch 2" in outcome.err


def test_synchronised_statistics_are_those_of_the_large_batch(two_ranks, alone, measured):
    """Weights and moving statistics after three steps; without sync_bn they differ."""
    first, second = (np.array(result["values"]) for result in two_ranks["synced"])
    expected = alone("synced")
    np.testing.assert_array_equal(first, second)
    measured("sync_bn", first, expected)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    apart = np.array(two_ranks["unsynced"][0]["values"])
    assert np.abs(apart - expected).max() > 1e-2


@pytest.mark.usefixtures("pynative")  # restores the mode
def test_two_ranks_go_on_with_what_one_has_begun(workplace, digits, tmp_path):
    """1 x 32 images, then 2 x 16, with synchronised statistics; AdamW would enlarge the rounding of small gradients."""
    settings = ("-c", RECIPE, "--data_dir", digits, *SHORT, "--opt", "momentum", "--lr", "0.05")
    settings = (*settings, "--device_target", "CPU", "--sync_bn", "True", "--val_while_train", "False")
    settings = (*settings, "--ckpt_save_policy", "latest_k")
    for name, epochs in (("alone", "2"), ("shared", "1")):
        with see.sketched():
            words = (*settings, "--batch_size", "32", "--epoch_size", epochs, "--ckpt_save_dir", tmp_path / name)
            train(parse_config(list(map(str, words))))
    outcome = workplace.run(
        *("tests/helpers/sketch_job.py", "train", *settings, "--batch_size", "16", "--epoch_size", "2", "--resume"),
        *("--ckpt_save_dir", tmp_path / "shared"),
        launcher=mpirun(2),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("ranks: 2 now, 1 before: the same images make a step, rounding differs") == 1
    alone, shared, begun = (
        read_entries(str(tmp_path / name / f"hrnet_w18_small-{epoch}.ckpt"))
        for name, epoch in (("alone", 2), ("shared", 2), ("shared", 1))
    )
    for name, value in alone.items():
        np.testing.assert_allclose(shared[name], value, atol=1e-5, err_msg=name)
    assert max(np.abs(alone[name] - begun[name]).max() for name in alone) > 1e-3


def test_msrun_starts_the_same_job(workplace, alone, tmp_path):
    outcome = workplace.run("tests/helpers/ranks.py", "linear", launcher=msrun(tmp_path / "logs"))
    assert outcome.code == 0, outcome.err
    workers = [results((tmp_path / "logs" / f"worker_{rank}.log").read_text())[0] for rank in (0, 1)]
    assert [worker["size"] for worker in workers] == [2, 2]
    expected = alone("linear")
    for worker in workers:
        np.testing.assert_allclose(worker["values"], expected, atol=1e-7)


def test_mpirun_trains_and_validates(digits, workplace):
    run = workplace.folder.parent / "two-ranks"
    outcome = workplace.run(
        *("tests/helpers/sketch_job.py", "train", "-c", RECIPE, "--data_dir", digits, "--ckpt_save_dir", run, *SHORT),
        *("--device_target", "CPU", "--batch_size", "16", "--epoch_size", "1", "--num_samples", "64"),
        launcher=mpirun(2),
    )
    assert outcome.code == 0, outcome.err
    assert "CPU x 2 (mpirun), graph mode, amp O0, global batch 32, epochs 1 to 1 of 2 steps" in outcome.out
    weights = run / "hrnet_w18_small-1.ckpt"
    command = ("tests/helpers/sketch_job.py", "validate", "-c", run / "config.yaml", "--ckpt_path", weights)
    together = workplace.run(*command, launcher=mpirun(2))
    alone = workplace.run(*command, "--distribute", "False")
    assert together.code == alone.code == 0, together.err
    assert counts(together.out)[:3] == counts(alone.out)[:3]
    assert counts(together.out)[3] == pytest.approx(counts(alone.out)[3], rel=1e-5)
    assert len(re.findall("^top-1", together.out, re.M)) == 1
    # statistics were averaged over the ranks, and what was validated in training is what was saved
    (row,) = csv.DictReader((run / "metrics.csv").open())
    assert counts(alone.out)[3] == pytest.approx(float(row["val_loss"]), abs=2e-5)
    assert np.isfinite(ms.load_checkpoint(str(weights))["bn1.moving_variance"].asnumpy()).all()


def test_one_failing_rank_ends_the_job_with_its_error(few_digits, workplace):
    spoiled = sorted((few_digits / "train" / "5").iterdir())[0]
    spoiled.write_bytes(b"not an image")
    outcome = workplace.run(
        *("train.py", "-c", RECIPE, "--data_dir", few_digits, "--ckpt_save_dir", workplace.folder.parent / "run"),
        *("--batch_size", "4", "--epoch_size", "9", "--warmup_epochs", "0", "--mode", "1"),
        launcher=mpirun(2),
    )
    assert outcome.code == 3
    errors = [line for line in outcome.err.splitlines() if "error:" in line]
    assert len(errors) == 1 and str(spoiled) in errors[0]
    own_words = outcome.err[outcome.err.index("error:") :]
    assert "Traceback" not in own_words and "RuntimeError" not in own_words
