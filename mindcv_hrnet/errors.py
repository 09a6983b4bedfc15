"""Errors that a user can mend. Each is one line: what is wrong, where, and what to do.

Every other exception is a defect of this package and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend: what was asked for, unless a kind below says otherwise.

    `exit_code` is what the process returns; 1 is left to defects.
    """

    exit_code = 2


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
