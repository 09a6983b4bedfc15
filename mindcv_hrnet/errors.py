"""Errors that a user can mend. Each is one line: what is wrong, where, and what to do.

Every other exception is a defect of this package and keeps its traceback.
"""


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
