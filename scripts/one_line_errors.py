"""What the scripts share that lay out a data set: how they end when something is wrong with the user's files."""

import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from mindcv_hrnet.errors import UserError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What goes wrong with the user's files ends a script with one line."""
    try:
        yield
    except (UserError, tarfile.TarError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}; mend that and run again")
