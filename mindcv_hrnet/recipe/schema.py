"""Turns dataclass fields into recipe options: conversion, range checks, command line and help.

Knows nothing of HRNet: `keys.py` declares the options, `config.py` reads a recipe by what is here.
"""

import argparse
import os
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any

from mindcv_hrnet.errors import ConfigError, nearest

LARGEST = 3.4e38  # of float32
TRUE_WORDS = ("true", "yes", "on", "y", "t", "1")
FALSE_WORDS = ("false", "no", "off", "n", "f", "0")


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare one recipe key: default, one-line meaning and what it accepts.

    `low <= value <= high` and `above < value < below` hold for each number of a list.
    """
    metadata: dict[str, Any] = {"help": help, "choices": choices}
    metadata["bounds"] = {"low": low, "high": high, "above": above, "below": below}
    return field(default=default, metadata=metadata)


# --- types ---------------------------------------------------------------------------------------------------------


def type_name(annotation: Any) -> str:
    """A type as a user would say it: `tuple[float, float]` is "2 floats"."""
    if isinstance(annotation, types.UnionType):
        return " or ".join(type_name(part) for part in annotation.__args__)
    if annotation is type(None):
        return "None"
    if typing.get_origin(annotation) is tuple:
        item, *rest = typing.get_args(annotation)
        count = "list of" if rest == [Ellipsis] else str(1 + len(rest))
        return f"{count} {type_name(item)}s"
    return {bool: "True/False", int: "int", float: "float", str: "str"}[annotation]


def convert_value(value: Any, annotation: Any) -> Any:
    """`value` (YAML value or command-line text) as `annotation`, or ValueError."""
    if isinstance(annotation, types.UnionType):
        # None and numbers first: "None" and "0.4" are also valid strings
        order = sorted(annotation.__args__, key=lambda part: (part is str, typing.get_origin(part) is tuple))
        for part in order:
            try:
                return convert_value(value, part)
            except ValueError:
                continue
        raise ValueError
    if typing.get_origin(annotation) is tuple:
        return _convert_tuple(value, annotation)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return _SCALARS[annotation](value)


def _convert_tuple(value: Any, annotation: Any) -> tuple[Any, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(element, str) for element in value):
        value = " ".join(value)  # the shell splits [0.2, 1.0] in two
    if isinstance(value, str):
        value = value.strip().strip("[]()").replace(",", " ").split()
    elif isinstance(value, (int, float)):
        value = (value,)
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    item, *rest = typing.get_args(annotation)
    if rest != [Ellipsis] and len(value) != 1 + len(rest):
        raise ValueError
    return tuple(convert_value(element, item) for element in value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUE_WORDS + FALSE_WORDS:
        return value.lower() in TRUE_WORDS
    raise ValueError


def _to_int(value: Any) -> int:
    if isinstance(value, (bool, float)):
        raise ValueError
    return int(_number(value, int))


def _to_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(_number(value, float))  # text too: YAML 1.1 reads 1e-3 as a string
    if not abs(number) <= LARGEST:
        raise ValueError
    return number


def _number(value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, OverflowError) as error:
        raise ValueError from error


def _to_str(value: Any) -> str:
    # No file can be called what cannot be encoded, or has a zero in it
    if not isinstance(value, str) or b"\0" in os.fsencode(value):
        raise ValueError
    return value


def _to_none(value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.lower() in ("none", "null", "~")):
        raise ValueError


_SCALARS = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str, type(None): _to_none}


# --- one option ----------------------------------------------------------------------------------------------------


def annotations(section: type) -> dict[str, Any]:
    """Resolved annotation of every field of a section dataclass."""
    return typing.get_type_hints(section)


def accepts(option_field: Field[Any]) -> str:
    """What the option accepts besides its type: its choices or its bounds, or nothing."""
    if option_field.metadata["choices"]:
        return "choices: " + ", ".join(repr(choice) for choice in option_field.metadata["choices"])
    signs = {"low": ">=", "above": ">", "high": "<=", "below": "<"}
    bounds = option_field.metadata["bounds"]
    parts = [f"{sign} {bounds[name]:.10g}" for name, sign in signs.items() if bounds[name] is not None]
    return "must be " + " and ".join(parts) if parts else ""


def check_value(option_field: Field[Any], value: Any) -> str:
    """Why `value` is outside what the option accepts; empty when it is fine."""
    choices = option_field.metadata["choices"]
    if choices:
        words = [choice for choice in choices if isinstance(choice, str)]
        hint = nearest(value, words) if isinstance(value, str) else ""
        values = value if isinstance(value, tuple) else (value,)
        return "" if set(values) <= {*choices, option_field.default} else accepts(option_field) + hint
    bounds = option_field.metadata["bounds"]
    numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, (int, float))]
    outside = any(
        (bounds["low"] is not None and number < bounds["low"])
        or (bounds["high"] is not None and number > bounds["high"])
        or (bounds["above"] is not None and number <= bounds["above"])
        or (bounds["below"] is not None and number >= bounds["below"])
        for number in numbers
    )
    return accepts(option_field) if outside else ""


def as_declared(value: Any, choices: Sequence[Any] | None) -> Any:
    """A word as the choices spell it, whatever its case: `SGD` is `sgd`."""
    if not isinstance(value, str) or not choices or value in choices:
        return value
    same = [choice for choice in choices if isinstance(choice, str) and choice.lower() == value.lower()]
    return same[0] if len(same) == 1 else value


def read_option(option_field: Field[Any], annotation: Any, value: Any, origin: str) -> Any:
    """The converted and checked value of one key, or ConfigError naming `origin`, key, value and what is accepted."""
    shown = value[0] if isinstance(value, list) and len(value) == 1 else value
    try:
        converted = convert_value(value, annotation)
    except ValueError:
        detail = accepts(option_field)
        raise ConfigError(
            f"{origin}: {option_field.name}: {shown!r} is not {type_name(annotation)}{'; ' + detail if detail else ''}"
        ) from None
    converted = as_declared(converted, option_field.metadata["choices"])
    problem = check_value(option_field, converted)
    if problem:
        raise ConfigError(f"{origin}: {option_field.name}: {shown!r} is not accepted; {problem}")
    return converted


# --- command line --------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as ConfigError."""

    def error(self, message: str) -> typing.NoReturn:
        """Raises ConfigError instead of printing the usage and leaving."""
        raise ConfigError(f"command line: {message}; see --help")


class _HelpFormatter(argparse.HelpFormatter):
    """`--key KIND` once, although the parser takes several words: lists may come with or without brackets."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32, width=120)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return str(action.metavar or "")


def build_parser(
    sections: dict[str, type], program: str, description: str, shown: Iterable[str], hidden: Iterable[str] = ()
) -> argparse.ArgumentParser:
    """A parser with one `--key` per option, grouped by section; every value stays text until `read_option`.

    The keys of sections that are not `shown`, and `hidden` ones, are taken too, but not in the help.
    """
    parser = Parser(
        formatter_class=_HelpFormatter,
        prog=program,
        usage="%(prog)s [-c RECIPE] [--key value ...]",
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this text")
    general.add_argument(
        "-c",
        "--config",
        metavar="RECIPE",
        help="YAML file, or a name of: mindcv-hrnet recipes",
    )
    for title, section in sections.items():
        group = parser.add_argument_group(title)
        kinds = annotations(section)
        for item in fields(section):
            assert item.default is not MISSING
            detail = accepts(item)
            text = f"{item.metadata['help']} ({detail + '; ' if detail else ''}default {item.default!r})"
            kind = type_name(kinds[item.name]).replace(" or None", "").replace(" ", "-")
            count = "*" if kinds[item.name] in (bool, bool | None) else "+"  # a bare switch is True
            meaning = text.replace("%", "%%") if title in shown else argparse.SUPPRESS
            group.add_argument(f"--{item.name}", nargs=count, metavar=kind, help=meaning)
    others = [title for title in sections if title not in shown]
    if others:
        parser.epilog = (
            f"Keys of {', '.join(others)} are taken as well, so that any recipe fits; train --help lists them."
        )
    for name in hidden:
        parser.add_argument(f"--{name}", nargs="*", help=argparse.SUPPRESS)
    return parser
