"""The recipe: keys and defaults of MindCV, precedence, messages, saving, help, and a reader for each key."""

import ast
import csv
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from repository import ROOT

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.models.variants import VARIANTS
from mindcv_hrnet.recipe.config import SECTIONS, Config, annotations, option_names, parse_config, run_folder
from mindcv_hrnet.recipe.schema import accepts

OPTIONS = {item.name: item for section in SECTIONS.values() for item in fields(section)}
KINDS = {name: kind for section in SECTIONS.values() for name, kind in annotations(section).items()}

EXTRA_KEYS = {
    "log_format",
    "tensorboard",
    "tracker",
    "predictions",
    "per_class",
    "class_map",
    "present_classes",
    "real_labels",
    "class_names_override",
    "resume_override",
    "ckpt_save_steps",
    "ckpt_save_minutes",
    "nan_patience",
    "compile_cache",
    "rank_timeout",
    "jit_level",
    "file_format",
    "file_name",
    "export_batch_size",
    "export_dynamic_size",
    "export_input",
    "export_features",
    "pretrained_url",
    "freeze",
    "head_lr_factor",
    "amp_dtype",
    "mixup_off_epoch",
    "sync_bn",
    "recompute",
}
# Where a default is not MindCV's, and why
OTHER_DEFAULTS = {
    "drop_overflow_update": None,  # MindCV's False trains on overflows; in half precision None does not
    "distribute": None,  # MindCV's False makes every process that a launcher started train alone, in one folder
    "device_target": "auto",  # MindCV's 'Ascend' fails wherever there is none
    "model": "hrnet_w32",  # this repository has HRNets alone
    "eps": None,  # MindCV hands its 1e-10 to rmsprop alone; so does None, others have their papers' values
}

OPTIMIZERS = "choices: 'sgd', 'momentum', 'nesterov', 'adam', 'adamw', 'lion', 'rmsprop', 'adagrad', 'lamb', 'nadam'"

with open(ROOT / "tests/data/mindcv_options.tsv", newline="") as file:
    MINDCV = {row["key"]: row for row in csv.DictReader(file, delimiter="\t")}


def refusal(*argv):
    with pytest.raises(ConfigError) as error:
        parse_config(argv)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def recipe(tmp_path):
    """A function text -> path of a recipe file."""

    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return str(path)

    return write


# --- keys and defaults ---------------------------------------------------------------------------------------------


def test_mindcv_has_86_keys():
    assert len(MINDCV) == 86


@pytest.mark.parametrize("key", MINDCV)
def test_key_and_default_of_mindcv(key):
    theirs = ast.literal_eval(MINDCV[key]["default"]) if MINDCV[key]["default"] else ""
    ours = parse_config([]).to_dict()[key]
    if key in OTHER_DEFAULTS:
        assert ours == OTHER_DEFAULTS[key] != theirs
    else:
        assert ours == (pytest.approx(theirs) if isinstance(theirs, list) else theirs)


def test_keys_are_flat_and_unique():
    assert len(option_names()) == len(set(option_names()))
    assert set(option_names()) - set(MINDCV) == EXTRA_KEYS


# --- precedence and types ------------------------------------------------------------------------------------------


def test_command_line_beats_yaml_beats_default(recipe):
    path = recipe("batch_size: 7\nepoch_size: 50\n")
    config = parse_config(["-c", path, "--batch_size", "9"])
    assert (config.data.batch_size, config.train.epoch_size, config.scheduler.warmup_epochs) == (9, 50, 3)
    assert parse_config(["--batch_size=9", "--config", path]).data.batch_size == 9


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("lr: 1e-3", "lr", 0.001),
        ("lr: 1", "lr", 1.0),
        ("amp_cast_list: '[nn.Conv2d, nn.Dense]'\namp_level: O1", "amp_cast_list", ["nn.Conv2d", "nn.Dense"]),
        ("distribute: off", "distribute", False),
        ("scale: [0.2, 1]", "scale", [0.2, 1.0]),
        ("color_jitter: None", "color_jitter", None),
        ("color_jitter: [0.1, 0.2, 0.3]", "color_jitter", [0.1, 0.2, 0.3]),
        ("auto_augment: null", "auto_augment", None),
        ("num_samples:", "num_samples", None),
        ("multi_step_decay_milestones: [5, 8]", "multi_step_decay_milestones", [5, 8]),
        ("re_value: random", "re_value", "random"),
    ],
)
def test_yaml_values(recipe, text, key, expected):
    assert parse_config(["-c", recipe(text)]).to_dict()[key] == expected


@pytest.mark.parametrize(
    ("argv", "key", "expected"),
    [
        ("--lr 1e-3", "lr", 0.001),
        ("--distribute False", "distribute", False),
        ("--drop_overflow_update False", "drop_overflow_update", False),
        ("--scale 0.2 1.0", "scale", [0.2, 1.0]),
        ("--scale [0.2, 1.0]", "scale", [0.2, 1.0]),
        ("--scale=[0.2,1.0]", "scale", [0.2, 1.0]),
        ("--scale (0.2,1.0)", "scale", [0.2, 1.0]),
        ("--multi_step_decay_milestones 5 8", "multi_step_decay_milestones", [5, 8]),
        ("--color_jitter 0.1 0.2 0.3", "color_jitter", [0.1, 0.2, 0.3]),
        ("--num_samples None", "num_samples", None),
        ("--freeze stem stage1", "freeze", ["stem", "stage1"]),
        ("--num_classes 10", "num_classes", 10),
        ("--data_dir 2024", "data_dir", "2024"),
    ],
)
def test_command_line_values(argv, key, expected):
    assert parse_config(argv.split(" ")).to_dict()[key] == expected


def test_quoted_list_on_the_command_line():
    assert parse_config(["--scale", "[0.2, 1.0]"]).augmentation.scale == (0.2, 1.0)


def test_one_channel_takes_the_average_mean_and_std():
    augmentation = parse_config(["--in_channels", "1"]).augmentation
    assert augmentation.mean == pytest.approx((114.495,)) and augmentation.std == pytest.approx((57.63,))
    assert parse_config(["--in_channels", "1", "--mean", "7", "--std", "2"]).augmentation.mean == (7.0,)


def test_override_checks_and_keeps_the_rest():
    config = parse_config(["--lr", "0.5"])
    changed = config.override(num_classes=7)
    assert (changed.model.num_classes, changed.scheduler.lr, config.model.num_classes) == (7, 0.5, None)
    with pytest.raises(ConfigError, match=r"^override: num_classes: 0 is not accepted; must be >= 1 and <= 1000000$"):
        config.override(num_classes=0)


def test_run_folder_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(parse_config(["--ckpt_save_dir", "a/../b"])) == tmp_path / "b"


# --- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "--epoch_sise 3",
            "command line: unknown argument '--epoch_sise' (nearest: 'epoch_size'); see --help",
        ),
        ("--qqq=4", "command line: unknown argument '--qqq=4'; see --help"),
        ("leftover", "command line: unknown argument 'leftover'; see --help"),
        ("--batch_size", "command line: argument --batch_size: expected at least one argument; see --help"),
        ("--batch_size big", "command line: batch_size: 'big' is not int; must be >= 1 and <= 65536"),
        ("--batch_size 0", "command line: batch_size: '0' is not accepted; must be >= 1 and <= 65536"),
        ("--batch_size 1 2", "command line: batch_size: ['1', '2'] is not int; must be >= 1 and <= 65536"),
        ("--distribute maybe", "command line: distribute: 'maybe' is not True/False or None"),
        ("--scale 0.2", "command line: scale: '0.2' is not 2 floats; must be > 0 and <= 1"),
        ("--scale 0.2 1.5", "command line: scale: ['0.2', '1.5'] is not accepted; must be > 0 and <= 1"),
        ("--mode 2", "command line: mode: '2' is not accepted; choices: 0, 1"),
        (
            "--interpolation biliner",
            "command line: interpolation: 'biliner' is not accepted; choices: 'nearest', 'bilinear', 'bicubic', "
            "'area', 'antialias', 'pilcubic', 'lanczos' (nearest: 'bilinear')",
        ),
        (
            "--file_format MINDIR,ONX",
            "command line: file_format: 'MINDIR,ONX' is not accepted; choices: 'MINDIR', 'ONNX', 'AIR'",
        ),
        ("-c none.yaml", "none.yaml: recipe not found; -c takes a YAML file, or a name of: mindcv-hrnet recipes"),
        # contradictions
        ("--min_lr 0.1", "command line: min_lr 0.1 is above lr 0.001; lower min_lr"),
        (
            "--opt momentum --use_nesterov True --momentum 0",
            "command line: use_nesterov is True, but momentum is 0; raise momentum",
        ),
        (
            "--multi_step_decay_milestones 9 5",
            "command line: multi_step_decay_milestones [9, 5] do not rise; sort them",
        ),
        (
            "--ckpt_save_policy top_k",
            "command line: ckpt_save_policy top_k ranks by validation, but val_while_train is False; "
            "set val_while_train True",
        ),
        (
            "--resume_override True",
            "command line: resume_override is True, but resume_opt is False; it is for runs that go on: pass "
            "--resume_opt True",
        ),
        (
            "--pretrained_url http://h/f",
            "command line: pretrained_url is given, but pretrained is False; set pretrained True",
        ),
        ("--freeze backbone stem", "command line: freeze backbone stem: backbone includes the others; leave them out"),
        ("--scale 0.9 0.2", "command line: scale [0.9, 0.2] starts above its end; swap the two"),
        ("--re_ratio 3 0.3", "command line: re_ratio [3, 0.3] starts above its end; swap the two"),
        ("--mean 1 2", "command line: mean has 2 values, in_channels is 3"),
        ("--std 1", "command line: std has 1 values, in_channels is 3"),
        ("--color_jitter 0.1 0.2", "command line: color_jitter has 2 values; give one, three or four"),
    ],
)
def test_command_line_refusals(argv, message):
    assert refusal(*argv.split()) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch_sise: 3", "{path}: unknown key 'epoch_sise' (nearest: 'epoch_size'); see --help"),
        ("qqq: 3", "{path}: unknown key 'qqq'; see --help"),
        ("7: 3", "{path}: unknown key '7'; see --help"),
        ("batch_size: 2.5", "{path}: batch_size: 2.5 is not int; must be >= 1 and <= 65536"),
        ("distribute: 1", "{path}: distribute: 1 is not True/False or None"),
        ("lr: fast", "{path}: lr: 'fast' is not float; must be > 0"),
        ("lr: .nan", "{path}: lr: nan is not float; must be > 0"),
        ("lr:", "{path}: lr: None is not float; must be > 0"),
        (
            "opt: adamWW",
            "{path}: opt: 'adamWW' is not accepted; " + OPTIMIZERS + " (nearest: 'adamw')",
        ),
        ("opt: lars", "{path}: opt: 'lars' is not accepted; " + OPTIMIZERS),
        ("drop_path_rate: 1.0", "{path}: drop_path_rate: 1.0 is not accepted; must be >= 0 and < 1"),
        ("lr: 0.1\nlr: 0.2", "{path}, line 2: not valid YAML: key 'lr' is given twice"),
        ("lr: 0.1\nscale: [1, 2", "{path}, line 2: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("- lr", "{path}: holds a list; a recipe is a flat list of 'key: value' lines"),
        ("min_lr: 1", "{path}: min_lr 1 is above lr 0.001; lower min_lr"),
    ],
)
def test_yaml_refusals(recipe, text, message):
    path = recipe(text)
    assert refusal("-c", path) == message.format(path=path)


def test_contradiction_between_file_and_command_line_names_both(recipe):
    path = recipe("min_lr: 0.1")
    origins, _, problem = refusal("-c", path, "--lr", "0.01").partition(": ")
    assert origins.split("; ") == sorted([path, "command line"])
    assert problem == "min_lr 0.1 is above lr 0.01; lower min_lr"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("learning_rate", "lr"), ("epochs", "epoch_size"), ("img-size", "image_resize"), ("optim", "opt")],
)
def test_names_of_other_programs_lead_to_ours(given, meant):
    assert refusal(f"--{given}", "3") == f"command line: unknown argument '--{given}' (nearest: '{meant}'); see --help"


def test_unknown_model_names_all_variants_and_the_nearest():
    choices = ", ".join(map(repr, VARIANTS))
    assert refusal("--model", "hrnet-w48") == (
        f"command line: model: 'hrnet-w48' is not accepted; choices: {choices} (nearest: 'hrnet_w48')"
    )


# --- save and load -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [
            "--lr",
            "1e-7",
            "--min_lr",
            "1e-9",
            "--scale",
            "0.2",
            "1.0",
            "--re_value",
            "random",
            "--data_dir",
            "a: b # 'ü'",
        ],
        ["--in_channels", "1", "--color_jitter", "None", "--auto_augment", "randaug-m7-mstd0.5", "--num_samples", "5"],
        ["--color_jitter", "0.1", "0.2", "0.3", "--train_split", "null", "--file_name", "1e5"],
    ],
)
def test_saved_recipe_reads_back_equal(recipe, argv):
    config = parse_config(argv)
    assert parse_config(["-c", recipe(config.to_yaml())]) == config


def test_saved_recipe_has_every_key_once_under_its_section():
    lines = Config().to_yaml().splitlines()
    assert [line.split(":")[0] for line in lines if ":" in line] == option_names()
    assert [line[2:] for line in lines if line.startswith("#")] == list(SECTIONS)


# --- help, imports, readers ----------------------------------------------------------------------------------------


def test_help_lists_each_key_under_its_section(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as leave:
        parse_config(["--help"], "train.py", "Train.")
    assert leave.value.code == 0
    parts = re.split(r"^(\w+):\n", capsys.readouterr().out, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections)[-len(SECTIONS) :] == list(SECTIONS)
    for title, section in SECTIONS.items():
        text = " ".join(sections[title].split())
        for item in fields(section):
            assert f"--{item.name} " in text
            assert item.metadata["help"] in text
            assert accepts(item) in text
            assert f"default {item.default!r})" in text


@pytest.mark.parametrize(
    "module",
    ["config", "recipe.config", "errors", "runtime.files", "runtime.distributed", "cli", "models.variants", "weights"],
)
def test_import_stays_without_mindspore(module):
    code = f"import sys, mindcv_hrnet.{module}; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# What sections are called where they are read: `config.lr` in `schedules.py`, `a.re_prob`, `self.train.clip_grad`
SECTION_ALIASES = {*SECTIONS, "config", "a", "loss_config"}


def test_every_key_has_a_reader():
    read = set()
    for path in (ROOT / "mindcv_hrnet").rglob("*.py"):
        if path.name == "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                if owner in SECTION_ALIASES:
                    read.add(node.attr)
    assert [key for key in option_names() if key not in read] == []
