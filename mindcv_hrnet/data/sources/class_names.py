"""Numbers of classes: a split that is numbered by names from elsewhere, and names that nothing can be done with."""

from collections.abc import Sequence

import numpy as np

from mindcv_hrnet.errors import DataError, one_line


class UnknownClasses(DataError):
    """A split has classes that are not among the names that it is numbered by.

    root: the split. found: the split's own names.
    """

    def __init__(self, message: str, root: str, found: Sequence[str]) -> None:
        super().__init__(message)
        self.root, self.found = root, tuple(found)


def numbers_of(found: Sequence[str], class_names: Sequence[str], root: str, advice: str) -> np.ndarray:
    """(len(found),) int32: the place of each name in `class_names`. Raises UnknownClasses."""
    places = {name: number for number, name in enumerate(class_names)}
    unknown = sorted(set(found) - set(places))
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UnknownClasses(
            f"{root}: '{unknown[0]}' is not among the {len(places)} classes of the training split{more}; {advice}",
            root,
            found,
        )
    return np.array([places[name] for name in found], np.int32)


def check_names(root: str, names: Sequence[str]) -> None:
    """Raise DataError for a name that cannot be written into a manifest, a log or an exported file."""
    for name in names:
        if one_line(name) != name:
            raise DataError(
                f"{root}: the class name '{name}' is not UTF-8 or has a control character in it; rename the class"
            )
