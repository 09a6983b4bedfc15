"""A recipe's file: its values, or one line, soon and without much memory, whatever it holds."""

import time
import tracemalloc

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.recipe.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "{path}, line 3: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: 1\nb: 2\na: 3\n", "{path}, line 3: not valid YAML: key 'a' is given twice"),
        ("a: 1\n\tb: 2\n", "{path}, line 2: not valid YAML: found character '\\t' that cannot start any token"),
        ("- a\n- b\n", "{path}: holds a list; a recipe is a flat list of 'key: value' lines"),
        ("words\n", "{path}: holds a str; a recipe is a flat list of 'key: value' lines"),
    ],
)
def test_read_yaml_names_file_line_and_reason(tmp_path, text, message):
    path = tmp_path / "o.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(str(path))
    assert str(error.value) == message.format(path=path)


def test_read_yaml_of_bytes_that_are_not_text(tmp_path):
    path = tmp_path / "o.yaml"
    path.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ConfigError) as error:
        read_yaml(str(path))
    assert str(error.value).startswith(f"{path}: cannot be read as YAML: ") and "\n" not in str(error.value)


def test_read_yaml_missing_and_empty(tmp_path):
    with pytest.raises(ConfigError) as error:
        read_yaml("none.yaml")
    assert str(error.value) == "none.yaml: recipe not found; -c takes a YAML file, or a name of: mindcv-hrnet recipes"
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(str(tmp_path / "empty.yaml")) == {}


FLAT = "; a recipe is a flat list of 'key: value' lines"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a, *a]\n", "{path}, line 1: &a names more than a single value" + FLAT),
        ("b: &b [1]\na: &a [*b, *b, *b]\n", "{path}, line 1: &b names more than a single value" + FLAT),
        ("a: *b\nb: &b 1\n", "{path}, line 1: *b names no single value above it" + FLAT),
        ("lr: 1\nb:\n  - - - - - 1\n", "{path}, line 3: lists in lists in lists" + FLAT),
        ("a: " + "[" * 100_000, "{path}, line 1: lists in lists in lists" + FLAT),
        ("- " * 100_000, "{path}, line 1: lists in lists in lists" + FLAT),
        ("? " * 100_000, "{path}, line 1: lists in lists in lists" + FLAT),
        ("a: " + "{b: " * 50_000, "{path}, line 1: lists in lists in lists" + FLAT),
        (
            "a: !!bool maybe\n",
            "{path}, line 1: the tag tag:yaml.org,2002:bool has no place here, write the value alone" + FLAT,
        ),
        (
            "a: !!float ''\n",
            "{path}, line 1: the tag tag:yaml.org,2002:float has no place here, write the value alone" + FLAT,
        ),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "{path}, line 1: the tag tag:yaml.org,2002:python/object/apply:os.system has no",
        ),
        ("a: " + "9" * 5000 + "\n", "{path}, line 1: not valid YAML: 99999999999999999999... is no number"),
        ("a: 0x" + "f" * 5000 + "\n", "{path}, line 1: not valid YAML: 0xffffffffffffffffff... is no number"),
        ("a: 0b_\n", "{path}, line 1: not valid YAML: 0b_ is no number"),
        ("a: 1" + ":59" * 3000 + "\n", "{path}, line 1: not valid YAML: 1:59:59:59:59:59:59:... is no number"),
        ("a: 1" + ":59" * 50_000 + "\n", "{path}, line 1: a value has more than 10000 characters" + FLAT),
        ("k: 1\n" * 6000, "{path}, line 4999: has more than 10000 parts" + FLAT),
        ("a: 1\n" + "#" * 300_000, "{path}: has more than 262144 bytes; a recipe is a list of 'key: value' lines"),
        ("? [a]\n: 1\n", "{path}, line 1: not valid YAML: a key is no single value"),
        ("a: 1\n--- \nb: 2\n", "{path}, line 2: not valid YAML: but found another document"),
        ('"a\\nb": 1\n"a\\nb": 2\n', "{path}, line 2: not valid YAML: key 'a\\nb' is given twice"),
    ],
    ids=lambda text: text[:24],
)
def test_what_no_recipe_needs(tmp_path, text, message):
    path = tmp_path / "o.yaml"
    path.write_text(text)
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError) as error:
            read_yaml(str(path))
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert str(error.value).startswith(message.format(path=path)) and "\n" not in str(error.value)


def test_references_to_values_and_dates(tmp_path):
    path = tmp_path / "o.yaml"
    path.write_text("lr: &rate 0.1\nmin_lr: *rate\nval_split: 2024-13-45\n")
    assert read_yaml(str(path)) == {"lr": 0.1, "min_lr": 0.1, "val_split": "2024-13-45"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"epoch\\nsize": 1\n', "unknown key 'epoch\\nsize'"),
        ('data_dir: "\\ud800"\n', r"data_dir: '\ud800' is not str"),
        ('data_dir: "a\\0b"\n', r"data_dir: 'a\x00b' is not str"),
        ("lr: 1" + "0" * 300 + "\n", "lr: 1000"),
        ("lr: .nan\n", "lr: nan is not float"),
        ("epoch_size: 1e11\n", "epoch_size: '1e11' is not int"),
        ("epoch_size: 100000000000\n", "epoch_size: 100000000000 is not accepted; must be >= 1 and <= 100000"),
        ("image_resize: 100000000000\n", "image_resize: 100000000000 is not accepted; must be >= 32 and <= 4096"),
        ("re_max_attempts: 100000000000\n", "re_max_attempts: 100000000000 is not accepted; must be >= 1 and <= 1000"),
        (f"val_split: {'x' * 256}\n", "val_split has more than 255 bytes, which no folder's name can have; shorten it"),
        ("{}: 1\n".format("k" * 1000), "unknown key 'kkk"),
        ("null: 1\n", "unknown key 'None'"),
        ("1.5: 1\n", "unknown key '1.5'"),
    ],
    ids=lambda text: text[:24],
)
def test_values_that_no_key_can_have(tmp_path, text, message):
    path = tmp_path / "o.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        parse_config(["-c", str(path)])
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value) and len(str(error.value)) < 2500


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "a\0b", "a\nb", "~nosuchuser/x"])
def test_a_recipe_that_cannot_be_there(name):
    with pytest.raises(ConfigError, match="recipe not found") as error:
        parse_config(["-c", name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["plain", "größe 蜂 🐝", 'a"b\\c', "\x7f\x85\u2028\ufeff", "a: b # c", "\udc80\udcff", "[1, 2]", " x "]
)
def test_texts_survive_the_saved_recipe(tmp_path, text):
    config = parse_config(["--data_dir", text, "--freeze", "stem", "bn"])
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert parse_config(["-c", str(tmp_path / "config.yaml")]) == config
