"""Bad input at large: whatever comes in ends in a result or in one line with its exit code, soon and in a gigabyte.

The same cases in every run, 1,000 in all; `--fuzz-cases 50000` takes more.
"""

import io
import json
import os
import zipfile
from binascii import crc32
from dataclasses import asdict, replace

import numpy as np
import pytest
from fuzzing import ODD_NUMBERS, ODD_TEXTS, changed, changes, json_values, places, replaced, run_cases
from hypothesis import strategies as st
from odd_images import image_files, with_checksums
from repository import ROOT

from mindcv_hrnet.cli import main
from mindcv_hrnet.data.decode import UnreadableImage, decode, decode_rows, jpeg_header
from mindcv_hrnet.data.loader import build_eval_transform, build_train_transform
from mindcv_hrnet.data.sources import index_cache
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.deploy.container import read_container
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.engine.schedules import build_schedule
from mindcv_hrnet.errors import ConfigError, UserError
from mindcv_hrnet.recipe.config import option_names, parse_config
from mindcv_hrnet.recipe.keys import AugmentationConfig
from mindcv_hrnet.weights import read_entries, read_weights, write_weights
from mindcv_hrnet.weights.formats.pytorch import LEGACY_START
from mindcv_hrnet.weights.manifest import Checkpoint, Manifest, State, weights_of_run

ODD_YAML = [
    *(
        "&a [*a, *a]",
        "*a",
        "[[[[[[1]]]]]]",
        "{a: {b: 1}}",
        "2024-13-45",
        "!!bool maybe",
        "!!float ''",
        "!!binary x",
        "!x y",
    ),
    *(
        "'\\",
        '"\\ud800"',
        '"a\\nb"',
        "|\n  a\n  b",
        ">",
        "? a",
        "- 1",
        "<<: {a: 1}",
        "0b_",
        "1:99:99",
        ".nan",
        "9" * 5000,
    ),
    *(
        "0x" + "f" * 3000,
        "[" * 3000,
        "{" * 3000,
        "- " * 3000,
        "@",
        "`",
        "%TAG ! x",
        "---",
        "...",
        "\t",
        "# x",
        ": :",
        ",",
    ),
]
POLICIES = [
    "randaug-m7-mstd0.5",
    "autoaug",
    "augmix-w2",
    "3a",
    "trivialaugwide",
    "randaug-m-",
    "randaug-w0-n9",
    "-",
    "augmix-d1e9",
]


@pytest.fixture
def fuzz(pytestconfig, fuzz_outcomes):
    """A function (share of the cases, strategy, check) -> Counter of outcomes; see `run_cases`."""

    def run(kind, share, strategy, check, accepted=UserError):
        counts = run_cases(max(1, round(share * pytestconfig.getoption("--fuzz-cases"))), strategy, check, accepted)
        fuzz_outcomes[kind] = counts
        assert counts["result"] and len(counts) > 1, f"the cases are too tame or too wild: {counts}"
        return counts

    return run


# --- recipes and command lines -------------------------------------------------------------------------------------

odd_values = st.one_of(
    st.sampled_from([*map(str, ODD_NUMBERS), *ODD_TEXTS, *POLICIES]),
    st.integers(-5, 500).map(str),
    st.text(max_size=20),
)
keys = st.sampled_from(option_names())
lines = st.one_of(
    st.tuples(keys, st.one_of(st.sampled_from(ODD_YAML), odd_values)).map(lambda pair: f"{pair[0]}: {pair[1]}"),
    st.tuples(keys, st.one_of(odd_values, st.lists(odd_values, max_size=4))).map(
        lambda pair: f"{pair[0]}: {json.dumps(pair[1])}"
    ),
    st.tuples(st.one_of(st.sampled_from(ODD_YAML), st.text(max_size=8)), st.just("1")).map(": ".join),
    st.sampled_from(
        ["", "# a comment", "batch_size: 8", "lr: &r 0.1", "min_lr: *r", "scale: [0.1, 1]", "mean: [1, 2, 3]"]
    ),
)
recipes = st.one_of(
    st.lists(lines, max_size=4).map(lambda parts: "\n".join(parts).encode("utf-8", "surrogatepass")),
    changes.map(lambda steps: changed((ROOT / "configs/hrnet/hrnet_w32_ascend.yaml").read_bytes(), steps)),
    st.binary(max_size=60),
)


def use(config):
    """What a job makes of a recipe before it touches data; and the saved recipe says the same."""
    build_train_transform(config.augmentation)
    build_eval_transform(config.augmentation)
    if config.train.epoch_size <= 1000:
        build_schedule(config.scheduler, config.train.epoch_size, 2)


@pytest.mark.slow
def test_recipes(fuzz, tmp_path):
    path, saved = tmp_path / "recipe.yaml", tmp_path / "saved.yaml"

    def check(content):
        path.write_bytes(content)
        config = parse_config(["-c", str(path)])
        saved.write_text(config.to_yaml(), encoding="utf-8")
        assert parse_config(["-c", str(saved)]) == config
        use(config)

    fuzz("recipes", 0.15, recipes, check, ConfigError)


arguments = st.lists(
    st.one_of(
        keys.map("--{}".format),
        odd_values,
        st.tuples(keys, odd_values).map(lambda pair: "--{}={}".format(*pair)),
        st.sampled_from(["-c", "--config", "--batch_size", "8", "--hel", "--resume_opt"]),
    ),
    max_size=5,
)


def test_command_lines(fuzz):
    fuzz("command lines", 0.15, arguments, lambda argv: use(parse_config(argv)), ConfigError)


def test_commands(fuzz, capfd, tmp_path, monkeypatch):
    """`convert` and `predict` with odd words: the exit code is one of the listed, and stderr has a line at most."""
    monkeypatch.chdir(tmp_path)
    for name in ("w.pth", "w.ckpt", "i.png", "m.mindir"):
        (tmp_path / name).write_bytes(b"PK\3\4 nothing")
    words = st.one_of(
        st.sampled_from(
            [
                "w.pth",
                "o.ckpt",
                "w.ckpt",
                "o.onnx",
                "i.png",
                "m.mindir",
                "--model",
                "--top",
                "--names",
                "--list",
                "/dev/zero",
            ]
        ),
        st.sampled_from(ODD_TEXTS),
    )
    commands = st.tuples(st.sampled_from(["convert", "predict", "konvert", "recipes"]), st.lists(words, max_size=4))

    def check(command):
        monkeypatch.setattr("sys.stdin", io.StringIO("i.png\n"))
        code = main([command[0], *command[1]])
        out, err = capfd.readouterr()
        assert code in (0, 2, 3, 4, 5), (code, err)
        assert "Traceback" not in out + err and err.count("\n") == bool(code), err
        if code:
            raise UserError(err.strip())

    fuzz("commands", 0.05, commands, check)


# --- images --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_images(fuzz, capfd):
    evaluate = build_eval_transform(AugmentationConfig(image_resize=32))
    out = np.zeros((3, 32, 32), np.uint8)
    cases = st.tuples(st.sampled_from(image_files()), changes, st.sampled_from([1, 2, 4, 8]), st.booleans())

    def check(case):
        whole, steps, reduce, mend = case
        data = changed(whole, steps)
        if mend and data.startswith(b"\x89PNG"):
            data = with_checksums(data)
        try:
            header = jpeg_header(data)
            if header:
                assert decode_rows(data, header, 8, reduce).dtype == np.uint8
            pixels = decode(data, reduce)
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            evaluate(data, out)
        finally:
            # libpng speaks up where the checksums are right and the content is not, libtiff about packed TIFFs
            terminal = capfd.readouterr().err
            assert not terminal or data.startswith((b"II", b"MM")) or (mend and "libpng" in terminal), terminal

    fuzz("images", 0.25, cases, check, UnreadableImage)


# --- weights -------------------------------------------------------------------------------------------------------


def rezipped(data, steps):
    """A PyTorch file whose pickle is changed, all checksums right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, changed(content, steps) if name.endswith("data.pkl") else content)
    return out.getvalue()


def with_right_sum(data, steps):
    """A .ckpt whose entries are changed, and its checksum right."""
    body = changed(data[:-17], steps)
    return body + b"crc_num" + crc32(body).to_bytes(10, "big")


def test_checkpoints(fuzz, tmp_path):
    arrays = {
        "conv1.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 50,
        **{f"bn1.{kind}": np.ones(2, np.float32) for kind in ("moving_mean", "moving_variance", "gamma", "beta")},
        "classifier.weight": np.ones((2, 2), np.float32),
    }
    files = {}
    for name in ("w.ckpt", "w.pth", "w.safetensors"):
        write_weights(arrays, tmp_path / name, class_names=["ant", "bée"])
        files[name] = (tmp_path / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        pickled = archive.read("archive/data.pkl")
    files["legacy"] = LEGACY_START + b"." + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + pickled
    path = tmp_path / "weights"
    plain = st.tuples(st.sampled_from(list(files.values())), changes).map(lambda case: changed(*case))
    cases = st.one_of(
        plain,
        changes.map(lambda steps: rezipped(files["w.pth"], steps)),
        changes.map(lambda steps: with_right_sum(files["w.ckpt"], steps)),
    )

    def check(data):
        path.write_bytes(data)
        read_entries(str(path))
        assert read_weights(str(path)).arrays

    fuzz("checkpoints", 0.2, cases, check)


# --- what the package writes for itself ----------------------------------------------------------------------------


def manifest_of_a_run():
    rest = {"size": 3, "sha256": "0" * 64}
    entries = [Checkpoint(f"tiny-{epoch}.ckpt", epoch, 4 * epoch, 50.0, **rest) for epoch in (1, 2)]
    state = State(
        *("tiny-state-2.ckpt", 2, 8, 1.5, False),
        **{"ranks": 1, "global_batch_size": 4, "steps_per_epoch": 4, "training_images": 16, "validation_images": 8},
        **rest,
    )
    return Manifest("tiny", ["ant", "bée"], entries, replace(entries[0], file="tiny-best.ckpt"), [state])


def test_manifests(fuzz, tmp_path):
    whole = json.dumps(asdict(manifest_of_a_run()))
    path = tmp_path / "manifest.json"
    cases = st.one_of(
        st.tuples(places, json_values).map(lambda case: json.dumps(replaced(json.loads(whole), *case)).encode()),
        changes.map(lambda steps: changed(whole.encode(), steps)),
        json_values.map(lambda value: json.dumps(value).encode()),
    )

    def check(content):
        path.write_bytes(content)
        manifest = Manifest.read(tmp_path)
        assert manifest is not None
        named = [manifest.best, *manifest.checkpoints, *manifest.states]
        assert all(os.sep not in each.file for each in named if each)
        weights_of_run(str(tmp_path))

    fuzz("manifests", 0.1, cases, check)


def test_index_caches(fuzz, tmp_path, monkeypatch):
    """Whatever the cache holds, the list of the folder is right."""
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_CACHING", 1)
    root = tmp_path / "train"
    for name in ("a/1.jpg", "a/2.jpg", "b/deep/x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    for folder, _, _ in os.walk(root):
        os.utime(folder, (1e9, 1e9))

    def listed():
        source = ImageFolder(root)
        return [source.path(number) for number in range(len(source))], source.labels.tolist()

    expected = listed()
    cache = index_cache.cache_file(str(root))
    whole = cache.read_bytes()

    def check(steps):
        damaged = changed(whole, steps)
        cache.write_bytes(damaged)
        assert listed() == expected
        if cache.read_bytes() != damaged:
            raise UserError("listed anew")

    fuzz("index caches", 0.05, st.one_of(st.just([]), changes), check)


def test_model_files(fuzz, tiny_mindir, tmp_path):
    """The notes come first; what is damaged elsewhere is seen by the checksum, before MindSpore reads it."""
    whole = tiny_mindir[0].read_bytes()
    notes = tiny_mindir[2].to_json().encode()
    assert notes in whole
    path = tmp_path / "m.mindir"

    def noted(text):
        """The start of a model file with `text` for its notes."""
        pair = b"\x0a\x0cmindcv_hrnet\x12" + varint(len(text)) + text
        return b"\x0a\x011" + b"\x3a\x00" + b"\x72" + varint(len(pair)) + pair

    photo = image_files()[0]
    cases = st.one_of(
        st.just(noted(notes)),
        changes.map(lambda steps: noted(changed(notes, steps))),
        st.tuples(places, json_values).map(lambda case: noted(json.dumps(replaced(json.loads(notes), *case)).encode())),
    )

    def check(data):
        path.write_bytes(data)
        _, metadata = read_container(path)
        preprocess = Preprocessor(metadata)
        assert preprocess.as_input(preprocess(photo)).shape == preprocess.shape

    fuzz("notes of model files", 0.03, cases, check)

    def check_whole(steps):
        path.write_bytes(changed(whole, steps))
        load_model(path)

    fuzz("model files", 0.02, st.one_of(st.just([]), changes), check_whole)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
