"""Conversion, checks, YAML and command line of options, on a section made for the purpose."""

from dataclasses import dataclass, fields

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.schema import (
    annotations,
    build_parser,
    convert_value,
    option,
    read_option,
    type_name,
)

PAIR, INTS, JITTER = tuple[float, float], tuple[int, ...], float | tuple[float, ...] | None


@dataclass(frozen=True)
class Oven:
    """A section."""

    heat: int = option(180, "degrees", low=50, high=300)
    fan: bool = option(False, "100 % of the air moves")
    mode: str = option("top", "where", choices=("top", "bottom"))
    share: float = option(0.5, "open share", above=0, below=1)


KINDS = annotations(Oven)
OPTIONS = {item.name: item for item in fields(Oven)}


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (bool, "True/False"),
        (PAIR, "2 floats"),
        (INTS, "list of ints"),
        (JITTER, "float or list of floats or None"),
        (str | None, "str or None"),
    ],
)
def test_types_are_told_as_a_user_would_say_them(annotation, name):
    assert type_name(annotation) == name


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("1e-3", float, 0.001),
        (1, float, 1.0),
        ("-2.5", float, -2.5),
        ("7", int, 7),
        (["7"], int, 7),
        ([7], int, 7),
        ("False", bool, False),
        ("true", bool, True),
        ("0", bool, False),
        ("YES", bool, True),
        (True, bool, True),
        (["0.2", "1.0"], PAIR, (0.2, 1.0)),
        (["[0.2, 1.0]"], PAIR, (0.2, 1.0)),
        (["[0.2,", "1.0]"], PAIR, (0.2, 1.0)),
        (["(0.2, 1.0)"], PAIR, (0.2, 1.0)),
        ("0.2,1.0", PAIR, (0.2, 1.0)),
        ([0.2, 1], PAIR, (0.2, 1.0)),
        (["30", "60"], INTS, (30, 60)),
        (3, INTS, (3,)),
        ("0.4", JITTER, 0.4),
        (["0.4", "0.3", "0.2"], JITTER, (0.4, 0.3, 0.2)),
        ("None", JITTER, None),
        ("none", str | None, None),
        ("randaug", str | None, "randaug"),
        ("5", int | None, 5),
        ("random", float | str, "random"),
        ("0", float | str, 0.0),
    ],
)
def test_convert(value, annotation, expected):
    converted = convert_value(value, annotation)
    assert converted == expected and type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("maybe", bool),
        (1, bool),
        (None, bool),
        (True, int),
        (1.5, int),
        ("1.5", int),
        (["1", "2"], int),
        (True, float),
        ("nan", float),
        ("inf", float),
        ("fast", float),
        (None, float),
        ({"a": 1}, float),
        (5, str),
        (None, str),
        (["a", "b"], str),
        ([], INTS),
        ("", INTS),
        ("1.5", INTS),
        (["0.2"], PAIR),
        (["1", "2", "3"], PAIR),
        (["a", "b"], PAIR),
        (None, PAIR),
        ("nil", int | None),
    ],
)
def test_convert_refuses(value, annotation):
    with pytest.raises(ValueError):
        convert_value(value, annotation)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heat", "hot", "o.yaml: heat: 'hot' is not int; must be >= 50 and <= 300"),
        ("heat", ["hot"], "o.yaml: heat: 'hot' is not int; must be >= 50 and <= 300"),
        ("heat", 49, "o.yaml: heat: 49 is not accepted; must be >= 50 and <= 300"),
        ("heat", 301, "o.yaml: heat: 301 is not accepted; must be >= 50 and <= 300"),
        ("fan", 3, "o.yaml: fan: 3 is not True/False"),
        ("mode", "bottem", "o.yaml: mode: 'bottem' is not accepted; choices: 'top', 'bottom' (nearest: 'bottom')"),
        ("mode", "xyz", "o.yaml: mode: 'xyz' is not accepted; choices: 'top', 'bottom'"),
        ("mode", 1, "o.yaml: mode: 1 is not str; choices: 'top', 'bottom'"),
        ("share", 0, "o.yaml: share: 0 is not accepted; must be > 0 and < 1"),
        ("share", "1.0", "o.yaml: share: '1.0' is not accepted; must be > 0 and < 1"),
    ],
)
def test_read_option_messages(key, value, message):
    with pytest.raises(ConfigError) as error:
        read_option(OPTIONS[key], KINDS[key], value, "o.yaml")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("heat", 50, 50),
        ("heat", "300", 300),
        ("share", 0.999, 0.999),
        ("mode", "bottom", "bottom"),
    ],
)
def test_read_option_accepts_the_limits(key, value, expected):
    assert read_option(OPTIONS[key], KINDS[key], value, "o.yaml") == expected


@dataclass(frozen=True)
class Table:
    cloth: str = option("white", "colour of the cloth")


def test_parser_keeps_text_and_knows_no_abbreviation():
    parser = build_parser({"oven": Oven}, "bake", "", ["oven"])
    known, unknown = parser.parse_known_args(["-c", "f", "--heat", "200", "--mode", "a", "b", "--hea", "3"])
    assert vars(known) == {"config": "f", "heat": ["200"], "mode": ["a", "b"]}
    assert unknown == ["--hea", "3"]


def test_parser_errors_are_config_errors():
    with pytest.raises(ConfigError) as error:
        build_parser({"oven": Oven}, "bake", "", ["oven"]).parse_args(["--heat"])
    assert str(error.value) == "command line: argument --heat: expected at least one argument; see --help"


def test_help_tells_meaning_type_bounds_and_default(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(build_parser({"oven": Oven}, "bake", "", ["oven"]).format_help().split())
    assert "degrees (must be >= 50 and <= 300; default 180)" in text
    assert "--fan True/False 100 % of the air moves (default False)" in text


def test_keys_of_other_sections_are_taken_but_not_shown():
    parser = build_parser({"oven": Oven, "table": Table}, "bake", "", ["table"])
    assert vars(parser.parse_args(["--heat", "3"])) == {"heat": ["3"]}
    text = " ".join(parser.format_help().split())
    assert "--heat" not in text and "--cloth" in text
    assert text.endswith("Keys of oven are taken as well, so that any recipe fits; train --help lists them.")
