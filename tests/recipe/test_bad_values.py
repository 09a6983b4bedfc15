"""What the declaration of a key excludes is an error of one line with key, value and limits."""

import json
import re
import types
import typing
from dataclasses import fields

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import SECTIONS, option_names, parse_config
from mindcv_hrnet.recipe.schema import accepts, annotations, type_name

KINDS = {name: kind for section in SECTIONS.values() for name, kind in annotations(section).items()}
FIELDS = {item.name: item for section in SECTIONS.values() for item in fields(section)}


def one_of(kind):
    """The type of one value: int for `int | None`, `tuple[float, float]` for itself."""
    return kind.__args__[0] if isinstance(kind, types.UnionType) else kind


def outside(key):
    """Values of the right type that the declaration excludes, one for each limit and one for the choices."""
    kind, metadata = one_of(KINDS[key]), FIELDS[key].metadata
    scalar, *rest = typing.get_args(kind) or [kind]
    if metadata["choices"]:
        yield [99] if scalar is int else ["nothing-like-it"]
    step = 1 if scalar is int else 1e-3
    for limit, shift in (("low", -step), ("high", step), ("above", 0), ("below", 0)):
        bound = metadata["bounds"][limit]
        if bound is not None:
            # where a list is asked for, one wrong number among right ones is enough
            right = [] if kind is scalar or rest == [Ellipsis] else [next(iter(FIELDS[key].default))]
            yield [*right, bound + shift]


# Neither a flag, a number or a text, nor a list of numbers or of texts
MIXED = [True, "x"]
OUTSIDE = [(key, value) for key in FIELDS for value in outside(key)]


def refusal(*argv):
    with pytest.raises(ConfigError) as error:
        parse_config([str(word) for word in argv])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("key", "words"), OUTSIDE, ids=str)
def test_values_outside_the_limits(key, words):
    shown = str(words[0]) if len(words) == 1 else [str(word) for word in words]
    expected = f"command line: {key}: {shown!r} is not accepted; {accepts(FIELDS[key])}"
    assert refusal(f"--{key}", *words) == expected


@pytest.mark.parametrize("key", option_names())
def test_values_of_another_type(key, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{key}: {json.dumps(MIXED)}\n")
    limits = accepts(FIELDS[key])
    expected = f"{path}: {key}: {MIXED!r} is not {type_name(KINDS[key])}{'; ' + limits if limits else ''}"
    assert refusal("-c", path) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("nonsense", "randaug-", "randaug-m11", "randaug-n0", "randaug-n1e3", "autoaug-canonical2", "autoaugr-m5"),
        *("3a-mstd11", "trivialaugwide-m0", "augmix-w2.5", "augmix-d0", "augmix-d1.5", "augmix-d100000"),
        *("augmix-w100000", "augmix-a0"),
    ],
)
def test_policies_that_are_none(text):
    """Checked where the policy is built: the recipe's reader knows nothing of images."""
    from mindcv_hrnet.data.loader import build_train_transform

    config = parse_config(["--auto_augment", text])
    with pytest.raises(ConfigError, match=rf"^auto_augment: .*'{re.escape(text)}'.*") as error:
        build_train_transform(config.augmentation)
    assert "\n" not in str(error.value)
