"""Errors that a user can mend. Each is one line: what is wrong, where, and what to do.

Every other exception is a defect of this package and keeps its traceback.
"""

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 2000  # characters of a message; a recipe may hold a megabyte in one value
_ENDS_OR_DISGUISES = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, separators of lines


def one_line(text: str) -> str:
    """`text` without what would break a line or a terminal, whatever a path, key or file put into it; not too long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 3 // 4]} ... {text[-LONGEST // 5 :]}"
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _ENDS_OR_DISGUISES
        else character
        for character in text
    )


class UserError(ValueError):
    """Something the user can mend: what was asked for, unless a kind below says otherwise.

    `exit_code` is what the process returns; 1 is left to defects.
    """

    exit_code = 2

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(UserError):
    """The recipe or the command line is wrong; found before anything is built."""

    exit_code = 2


class DataError(UserError):
    """A data set is missing, empty, or holds files that cannot be used."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or does not fit the network."""

    exit_code = 4


class RunError(UserError):
    """The run itself cannot go on: no device, disk full, loss not finite, export that differs."""

    exit_code = 5


def closest_name(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The one of `names` that looks most like `name`; empty when none is as like as `cutoff`. Case does not count."""
    known = {each.lower(): each for each in names}
    matches = difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff)
    return known[matches[0]] if matches else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """What a message says of a mistyped name: `" (nearest: 'x')"`, or nothing when no name is close."""
    found = closest_name(name, names)
    return f" (nearest: '{found}')" if found else ""
