"""A manifest is believed only where it makes sense: files are deleted, replaced and read by it."""

import json
from dataclasses import asdict

import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.weights.manifest import Checkpoint, Manifest, State

DIGEST = "0123456789abcdef" * 4
WHOLE = asdict(
    Manifest(
        model="tiny",
        class_names=["ant", "bée"],
        checkpoints=[
            Checkpoint("tiny-1.ckpt", 1, 10, 50.0, 9, DIGEST),
            Checkpoint("tiny-2.ckpt", 2, 20, None, 9, DIGEST),
        ],
        best=Checkpoint("tiny-best.ckpt", 1, 10, 50.0, 9, DIGEST),
        states=[
            State("tiny-state-1.ckpt", 1, 10, 0.5, False, 1, 8, 10, 80, 20, 9, DIGEST),
            State("tiny-state-2-3.ckpt", 2, 13, 0.5, True, 1, 8, 10, 80, 0, 9, DIGEST),
        ],
    )
)
REMOVED = object()


def changed(path, value):
    """The whole manifest with the entry at `path`, such as checkpoints.0.file, set to `value` or removed."""
    content = json.loads(json.dumps(WHOLE))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = content
    for part in parents:
        place = place[part]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("model", REMOVED, "no 'model'"),
        ("model", 5, "model is '5'"),
        ("class_names", REMOVED, "no 'class_names'"),
        ("class_names", "ab", "class_names is 'ab'"),
        ("class_names", ["a", 1], "class_names are not names, each once"),
        ("class_names", ["a", "a"], "class_names are not names, each once"),
        ("class_names", ["a", ""], "class_names are not names, each once"),
        ("checkpoints", REMOVED, "no 'checkpoints'"),
        ("checkpoints", {}, "checkpoints is '{}'"),
        ("checkpoints", [5], "checkpoints[0] is no mapping"),
        ("checkpoints.0.epoch", 2, "the epochs of its checkpoints do not rise"),
        ("checkpoints.0.epoch", 0, "checkpoints[0].epoch is 0"),
        ("checkpoints.0.epoch", True, "checkpoints[0].epoch is 'True'"),
        ("checkpoints.0.epoch", 1.0, "checkpoints[0].epoch is '1.0'"),
        ("checkpoints.0.epoch", 1 << 60, "checkpoints[0].epoch is 1152921504606846976"),
        ("checkpoints.0.step", -1, "checkpoints[0].step is -1"),
        ("checkpoints.0.step", None, "checkpoints[0].step is 'None'"),
        ("checkpoints.0.top1", "50", "checkpoints[0].top1 is '50'"),
        ("checkpoints.0.top1", float("nan"), "checkpoints[0].top1 is nan, not a percentage"),
        ("checkpoints.0.top1", 100.5, "checkpoints[0].top1 is 100.5, not a percentage"),
        ("checkpoints.0.top1", True, "checkpoints[0].top1 is 'True'"),
        ("checkpoints.0.file", REMOVED, "no 'checkpoints[0].file'"),
        ("checkpoints.0.file", None, "checkpoints[0].file is 'None'"),
        *(("checkpoints.0.file", name, "checkpoints[0].file is '") for name in ("", ".", "..", "thesis.txt")),
        (
            "checkpoints.0.file",
            "../../victim/tiny-1.ckpt",
            "checkpoints[0].file is '../../victim/tiny-1.ckpt', not the",
        ),
        ("checkpoints.0.file", "tiny-/../tiny-1.ckpt", "checkpoints[0].file is '"),
        ("checkpoints.0.file", "tiny-\0.ckpt", "checkpoints[0].file is '"),
        ("best", [], "best is '[]'"),
        ("best", {}, "no 'best.file'"),
        ("best.file", "/etc/tiny-best.ckpt", "best.file is '/etc/tiny-best.ckpt', not the name of a file"),
        ("checkpoints.0.size", 0, "checkpoints[0].size is 0"),
        ("checkpoints.0.sha256", "abc", "checkpoints[0].sha256 is no SHA-256"),
        ("checkpoints.0.sha256", REMOVED, "no 'checkpoints[0].sha256'"),
        ("states", REMOVED, "no 'states'"),
        ("states", 5, "states is '5'"),
        ("states", [], "it has checkpoints without a state"),
        ("states.0", "tiny-state-1.ckpt", "states[0] is no mapping"),
        ("states.0.step", 13, "the steps of its states do not rise"),
        ("states.0.seconds", float("nan"), "states[0].seconds is nan"),
        ("states.0.validation_due", 1, "states[0].validation_due is '1'"),
        ("states.0.ranks", 0, "states[0].ranks is 0"),
        ("states.1.file", "/etc/passwd", "states[1].file is '/etc/passwd', not the name of a file tiny-....ckpt"),
        ("states.1.file", "config.yaml", "states[1].file is 'config.yaml'"),
    ],
)
def test_what_makes_no_sense(tmp_path, path, value, reason):
    (tmp_path / "manifest.json").write_text(changed(path, value))
    with pytest.raises(CheckpointError) as error:
        Manifest.read(tmp_path)
    text = str(error.value)
    assert text.startswith(f"{tmp_path}/manifest.json: not a manifest of a run ({reason}") and "\n" not in text
    assert text.endswith("); restore or remove the file")


def test_a_manifest_of_an_older_version_says_so(tmp_path):
    content = {"model": "tiny", "class_names": ["a"], "checkpoints": [], "best": None, "state": "tiny-state-1.ckpt"}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"version 0\.2 or older has written it, with one state and no checksums"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[]", "5", "null", "", "{", '"x"', "[" * 200_000, '{"a":' * 100_000, "1" * 5000, '{"model": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:8],
)
def test_what_is_no_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest.json: not a manifest of a run \("):
        Manifest.read(tmp_path)


def test_bytes_that_are_no_text_and_a_file_without_end(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(CheckpointError):
        Manifest.read(tmp_path)
    with open(tmp_path / "manifest.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"\(more than 16777216 bytes\)"):
        Manifest.read(tmp_path)


def test_whole(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({**WHOLE, "written_by": "a later version"}))
    manifest = Manifest.read(tmp_path)
    assert asdict(manifest) == WHOLE
    assert manifest.names("tiny-2.ckpt") and manifest.names("tiny-best.ckpt") and manifest.names("tiny-state-1.ckpt")
    assert not manifest.names("tiny-3.ckpt") and not manifest.names("")
