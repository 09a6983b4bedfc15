"""A checkpoint knows which row of its classifier means which class, whatever the data set is called or ordered like."""

import json
import shutil
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import observables as see
import pytest
from PIL import Image

from mindcv_hrnet.errors import CheckpointError, DataError, RunError
from mindcv_hrnet.jobs.export import export
from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.jobs.validate import validate
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.weights import read_weights, write_weights

pytestmark = pytest.mark.usefixtures("pynative")

CLASSES = ("ant", "bée", "cat")
SETTINGS = (
    *("--dataset", "folder", "--batch_size", "4", "--image_resize", "32", "--epoch_size", "1", "--warmup_epochs", "0"),
    *("--mode", "1", "--device_target", "CPU", "--color_jitter", "None", "--opt", "sgd", "--lr", "0.05"),
    *("--model", "hrnet_w18_small"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on three classes of five images; grey, so that the classes differ in what the network says of them."""
    place = tmp_path_factory.mktemp("classes")
    for split in ("train", "val"):
        for number, name in enumerate(CLASSES):
            (place / "data" / split / name).mkdir(parents=True)
            for image in range(5):
                pixels = np.full((40, 40, 3), 60 * number + 10 * image, np.uint8)
                Image.fromarray(pixels).save(place / "data" / split / name / f"{image}.png")
    with see.sketched():
        train(parse_config([*SETTINGS, "--data_dir", str(place / "data"), "--ckpt_save_dir", str(place / "run")]))
    return place


@pytest.fixture
def work(trained, tmp_path):
    """Copies to spoil, and a function that reads a recipe on them."""
    for name in ("data", "run"):
        shutil.copytree(trained / name, tmp_path / name)
    fixed = (*SETTINGS, "--data_dir", str(tmp_path / "data"), "--ckpt_save_dir", str(tmp_path / "new"))
    weights = tmp_path / "run/hrnet_w18_small-1.ckpt"
    return SimpleNamespace(
        place=tmp_path, weights=weights, config=lambda *argv: parse_config([*fixed, *map(str, argv)])
    )


def enter(work):
    """Have the manifest say that the weights are as they are."""
    manifest = json.loads((work.place / "run/manifest.json").read_text())
    content = work.weights.read_bytes()
    manifest["checkpoints"][0].update(size=len(content), sha256=sha256(content).hexdigest())
    (work.place / "run/manifest.json").write_text(json.dumps(manifest))


def measured(work, *argv):
    with see.sketched():
        result = validate(work.config("--ckpt_path", work.weights, *argv))
    return result.count, result.correct1, pytest.approx(result.loss, abs=1e-6)


def rename(work, old, new, splits=("train", "val")):
    for split in splits:
        (work.place / "data" / split / old).rename(work.place / "data" / split / new)


def in_another_order(work):
    """The same weights with the rows of the classifier and the names in another order, in a file of another kind."""
    weights, order = read_weights(str(work.weights)), [2, 0, 1]
    arrays = {n: a[order] if n.startswith("classifier.") else a for n, a in weights.arrays.items()}
    path = work.place / "elsewhere.safetensors"
    write_weights(arrays, path, "mindcv", [CLASSES[number] for number in order])
    return path


def test_names_travel_with_the_file(work):
    assert read_weights(str(work.weights)).class_names == CLASSES
    assert json.loads((work.place / "run/manifest.json").read_text())["class_names"] == list(CLASSES)


def test_validation_maps_another_order(work):
    whole = measured(work)
    work.weights = in_another_order(work)
    assert measured(work) == whole


def test_validation_of_a_subset_needs_no_training_split(work, caplog):
    import math

    whole = measured(work)
    shutil.rmtree(work.place / "data/train")
    parts = []
    for name in CLASSES:
        shutil.move(work.place / "data/val", work.place / "all")
        shutil.copytree(work.place / "all" / name, work.place / "data/val" / name)
        parts.append(measured(work))
        shutil.rmtree(work.place / "data/val")
        shutil.move(work.place / "all", work.place / "data/val")
    assert [count for count, _, _ in parts] == [5, 5, 5] and sum(correct for _, correct, _ in parts) == whole[1]
    assert math.isclose(sum(loss.expected for _, _, loss in parts) / 3, whole[2].expected, rel_tol=1e-5)


def test_validation_of_a_renamed_class(work):
    rename(work, "ant", "zebra")
    with pytest.raises(DataError) as error:
        measured(work)
    assert str(error.value) == (
        f"{work.place}/data/val: its classes are not those of {work.weights}, 1 only here (zebra), 1 only there (ant); "
        "rename them, or pass --class_names_override True to number them as the data set does"
    )
    count, _, _ = measured(work, "--class_names_override", "True")
    assert count == 15


def test_a_file_of_an_older_version_is_known_by_the_manifest_beside_it(work):
    write_weights(read_weights(str(work.weights)).arrays, work.weights)
    enter(work)
    rename(work, "ant", "zebra")
    with pytest.raises(DataError, match=r"1 only here \(zebra\), 1 only there \(ant\)"):
        measured(work)
    # a file that the manifest does not name is nobody's
    work.weights.rename(work.place / "run/mine.ckpt")
    work.weights = work.place / "run/mine.ckpt"
    assert measured(work)[0] == 15


def test_names_and_rows_that_differ_in_number(work):
    write_weights(read_weights(str(work.weights)).arrays, work.weights, class_names=["ant", "cat"])
    enter(work)
    with pytest.raises(CheckpointError, match=r"-1.ckpt: has 3 classes, but 2 class names; is the manifest"):
        measured(work)


def resume(work, *argv):
    with see.sketched():
        train(
            work.config(
                *("--resume_opt", "True", "--ckpt_path", work.place / "run", "--ckpt_save_dir", work.place / "run"),
                *("--epoch_size", "2", *argv),
            )
        )
    return json.loads((work.place / "run/manifest.json").read_text())["class_names"]


@pytest.mark.slow
def test_resuming_on_other_classes(work):
    rename(work, "ant", "zebra")
    with pytest.raises(DataError) as error:
        resume(work)
    assert str(error.value).startswith(
        f"{work.place}/data/train: its classes are not those of {work.place}/run, 1 only here (zebra), 1 only there"
    )
    assert resume(work, "--class_names_override", "True") == ["bée", "cat", "zebra"]


def test_resuming_keeps_the_numbers_of_the_run(work):
    manifest = json.loads((work.place / "run/manifest.json").read_text())
    manifest["class_names"] = ["cat", "ant", "bée"]
    (work.place / "run/manifest.json").write_text(json.dumps(manifest))
    assert resume(work) == ["cat", "ant", "bée"]
    assert read_weights(str(work.place / "run/hrnet_w18_small-2.ckpt")).class_names == ("cat", "ant", "bée")


def test_a_folder_with_a_run_of_other_classes(work):
    shutil.copytree(work.place / "run", work.place / "new")
    manifest = json.loads((work.place / "new/manifest.json").read_text())
    manifest["class_names"] = ["ant", "bée", "yak"]
    (work.place / "new/manifest.json").write_text(json.dumps(manifest))
    with see.sketched(), pytest.raises(DataError) as error:
        train(work.config("--resume_opt", "True", "--ckpt_path", work.place / "run", "--epoch_size", "2"))
    assert str(error.value).startswith(
        f"{work.place}/data/train: its classes are not those of {work.place}/new, 1 only here (cat), 1 only there (yak)"
    )


def started(work, names, *argv):
    """The classifier from which training on the classes `names` starts."""
    config = work.config("--ckpt_path", work.weights, *argv).override(num_classes=len(names))
    with see.sketched(), see.log_lines() as lines:
        network, _ = see.build_step(config, np.ones(1, np.float32), see.Cluster(), names)
    parameters = network.parameters_dict()
    return parameters["classifier.weight"].asnumpy(), parameters["classifier.bias"].asnumpy(), lines


def test_finetuning_takes_rows_by_name(work):
    arrays = read_weights(str(work.weights)).arrays
    weight, bias = arrays["classifier.weight"], arrays["classifier.bias"]
    own, own_bias, _ = started(work, CLASSES)
    assert (own == weight).all() and (own_bias == bias).all()
    own, own_bias, lines = started(work, ("cat", "ant", "bée"))
    assert (own == weight[[2, 0, 1]]).all() and (own_bias == bias[[2, 0, 1]]).all()
    assert "hrnet_w18_small-1.ckpt: 3 of 3 classes have their rows of the classifier, by name" in lines
    own, _, _ = started(work, ("bée", "cat"))
    assert (own == weight[1:]).all()
    own, _, lines = started(work, ("ant", "dog", "eel"))
    assert (own[0] == weight[0]).all() and (own[1:] != weight[1:]).all()
    assert any("classifier re-initialised for the classes that it does not know (dog, eel)" in line for line in lines)
    own, _, _ = started(work, ("cat", "ant", "bée"), "--class_names_override", "True")
    assert (own == weight).all()


def test_export_takes_the_names_of_the_file(work, monkeypatch):
    rename(work, "ant", "zebra", ("train",))
    found = []
    monkeypatch.setattr("mindcv_hrnet.jobs.export.write_mindir", lambda network, metadata, path: found.append(metadata))
    monkeypatch.setattr("mindcv_hrnet.jobs.export.compare", lambda *arguments: float("nan"))
    for argv in ((), ("--class_names_override", "True")):
        with see.sketched(), pytest.raises(RunError, match="differs from the network"):
            export(work.config("--ckpt_path", work.weights, "--file_name", work.place / "out", *argv))
    assert [tuple(metadata.class_names) for metadata in found] == [CLASSES, ("bée", "cat", "zebra")]
