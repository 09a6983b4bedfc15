"""The prediction job: which images words name, models of every kind, damaged images, and where answers go."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.cli import main
from mindcv_hrnet.deploy.compare import natural_images
from mindcv_hrnet.errors import CheckpointError, ConfigError, DataError
from mindcv_hrnet.jobs import predict as module
from mindcv_hrnet.runtime.files import digest_of, write_json, write_text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to stand in, with four images and one that is damaged."""
    for number, name in enumerate(("b.png", "a.PNG", "sub/c.jpg", "sub/.hidden.png", ".git/d.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = natural_images(1, 3, 40, 50, number)[0].transpose(1, 2, 0)
        Image.fromarray(pixels).save(path, "JPEG" if name.endswith("jpg") else "PNG")
    (tmp_path / "images" / "sub" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(word, stdin=""):
    found = module.find_images(word, io.StringIO(stdin))
    assert all(each.path == str(Path(each.name).absolute()) for each in found)
    return [each.name for each in found]


IMAGES = ["images/a.PNG", "images/b.png", "images/sub/bad.jpg", "images/sub/c.jpg"]


def test_words_that_name_images(folder):
    assert names("images") == IMAGES
    assert names("images/a.PNG") == ["images/a.PNG"] and names("no.png") == ["no.png"]
    assert names("images/*.png") == ["images/b.png"]
    assert names("images/**/*.jpg") == ["images/sub/bad.jpg", "images/sub/c.jpg"]
    assert names("im*") == IMAGES
    assert names("-", "images/b.png\n\nimages/sub\r\n") == ["images/b.png", "images/sub/bad.jpg", "images/sub/c.jpg"]
    (folder / "odd[1].png").write_bytes(b"")
    assert names("odd[1].png") == ["odd[1].png"]


def test_words_that_name_nothing(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"^empty: no image in this folder; looked for \.jpg, "):
        names("empty")
    with pytest.raises(DataError, match=r"^\*\.gif: no file matches this pattern$"):
        names("*.gif")


@pytest.mark.parametrize(
    ("argv", "model", "images"),
    [
        (["m.onnx", "a.png", "b.png"], "m.onnx", ["a.png", "b.png"]),
        (["--model", "m.onnx", "a.png"], "m.onnx", ["a.png"]),
        (["a.png", "--model", "m.onnx", "b.png"], "m.onnx", ["a.png", "b.png"]),
    ],
)
def test_the_model_is_the_first_word_or_an_option(folder, argv, model, images):
    options = module.parse(argv)
    assert options.model == str(folder / model) and [each.name for each in options.images] == images


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: MODEL, IMAGE; see --help"),
        (["m.onnx"], "the following arguments are required: IMAGE; see --help"),
        (["m", "a", "--batch_size", "0"], "batch_size: 0 is not accepted; must be >= 1"),
    ],
)
def test_command_lines_that_are_wrong(argv, message):
    with pytest.raises(ConfigError) as error:
        module.parse(argv)
    assert str(error.value) == f"command line: {message}"


def test_a_damaged_image_is_a_row_and_the_exit_code(folder, tiny_onnx, capsys):
    assert main(["predict", str(tiny_onnx), "images", "no.png", "--top", "2", "--format", "jsonl"]) == 3
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [*IMAGES, "no.png"]
    assert [row.get("error") for row in rows] == [
        *(None, None, "it is truncated: its end marker is missing", None),
        "it cannot be read (No such file or directory)",
    ]
    assert [len(row.get("predictions", ())) for row in rows] == [2, 2, 0, 2, 0]
    speed, last = err.splitlines()
    assert speed.startswith("5 images, ") and speed.endswith(" images/s")
    assert last == "error: 2 of 5 images could not be classified; the answers say why"


def test_answers_and_a_sheet_in_files(folder, tiny_onnx, capsys):
    argv = ["predict", str(tiny_onnx), "images", "--format", "csv", "--out", "answers.csv", "--sheet", "sheet.png"]
    assert main(argv) == 3
    assert capsys.readouterr().out == ""
    assert [line.split(",")[0] for line in (folder / "answers.csv").read_text().splitlines()] == ["image", *IMAGES]
    sheet = np.asarray(Image.open(folder / "sheet.png"))
    assert sheet.shape == (2 * 207 + 4, 2 * 164 + 4, 3)
    assert (sheet[207 + 10, 10] == 200).all()  # the damaged one is grey
    assert sorted(path.name for path in folder.iterdir()) == ["answers.csv", "images", "sheet.png"]


def test_an_unwritable_target_is_one_line(folder, tiny_onnx, capsys):
    assert main(["predict", str(tiny_onnx), "images/b.png", "--out", "no/where.txt"]) == 5
    assert capsys.readouterr().err == (
        f"error: {folder}/no/where.txt: cannot be written (No such file or directory); "
        "check the folder and start again; earlier files are untouched\n"
    )


@pytest.fixture
def run(folder, pynative):
    """A run folder of hrnet_w18_small with three classes."""
    import mindspore as ms

    from mindcv_hrnet import create_model
    from mindcv_hrnet.recipe.config import parse_config
    from mindcv_hrnet.weights import write_weights
    from mindcv_hrnet.weights.manifest import Checkpoint, Manifest, State

    place = folder / "run"
    place.mkdir()
    settings = ("--model", "hrnet_w18_small", "--image_resize", "32", "--num_classes", "3")
    config = parse_config([*settings, "--export_input", "uint8"])
    write_text(place / "config.yaml", config.to_yaml())
    ms.set_seed(0)
    network = create_model("hrnet_w18_small", 3)
    arrays = {name: each.asnumpy() for name, each in network.parameters_dict().items()}
    best = place / "hrnet_w18_small-best.ckpt"
    write_weights(arrays, best)
    entry = Checkpoint(best.name, 1, 2, 50.0, size=best.stat().st_size, sha256=digest_of(best))
    state = State("hrnet_w18_small-state-1.ckpt", 1, 2, 0.5, False, 1, 8, 2, 16, 4, 9, "0" * 64)
    checkpoints = [replace(entry, file="hrnet_w18_small-1.ckpt")]
    write_json(
        place / "manifest.json", asdict(Manifest("hrnet_w18_small", ["x", "y", "z"], checkpoints, entry, [state]))
    )
    return place


@pytest.mark.slow
def test_a_run_folder_and_its_checkpoint_are_models(run, folder):
    import mindspore as ms

    from mindcv_hrnet import create_model

    checkpoint = run / "hrnet_w18_small-best.ckpt"
    answers = [module.load_classifier(path)("images/b.png", top=3)[0] for path in (run, checkpoint)]
    assert answers[0] == answers[1] and set(answers[0].labels) == {"x", "y", "z"}
    network = create_model("hrnet_w18_small", 3, checkpoint=str(checkpoint)).set_train(False)
    model = module.open_model(run)
    inputs = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(model(inputs), network(ms.Tensor(inputs)).asnumpy(), rtol=1e-5, atol=1e-6)


def test_what_is_no_model(run, folder, tmp_path):
    (tmp_path / "alone.ckpt").write_bytes((run / "hrnet_w18_small-best.ckpt").read_bytes())
    words = "is a checkpoint, weights alone; pass its run folder, or export it with export.py"
    with pytest.raises(CheckpointError, match=f"^{tmp_path}/alone.ckpt: {words}$"):
        module.open_model(tmp_path / "alone.ckpt")
    with pytest.raises(CheckpointError, match=f"^{folder}/images: has no config.yaml; pass a run folder, a .mindir or"):
        module.open_model(folder / "images")
