"""Label files for other validation sets of ImageNet: class folders of other names, several right answers per image."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.engine.predictions import Predictions
from mindcv_hrnet.errors import DataError, nearest
from mindcv_hrnet.runtime.files import reason_of

NUMBER_IN_NAME = re.compile(r"(\d{8})\.\w+$")


class RealScore(NamedTuple):
    """Share of `images`, per cent, whose answer is among the right ones (arXiv:2006.07159, section 3)."""

    top1: float
    images: int


def folders_by_class(file: str, names: Sequence[str], num_classes: int) -> list[str]:
    """The folder of each class, in the classes' order, as a class map {folder: class name or number} has it.

    A class without a folder gets its own name, or one that no folder has. Raises DataError.
    """
    content = _read(file)
    if not isinstance(content, dict) or not content:
        raise DataError(f'{file}: a class map is a JSON object such as {{"folder": "class name"}} or {{"folder": 7}}')
    place = {name: number for number, name in enumerate(names)}
    folders: dict[int, str] = {}
    for folder, value in content.items():
        number = value if isinstance(value, int) else place.get(str(value), -1)
        if isinstance(value, bool) or not 0 <= number < num_classes:
            hint = nearest(str(value), names)
            raise DataError(f"{file}: folder {folder!r}: the checkpoint has no class {value!r}{hint}")
        if number in folders:
            raise DataError(f"{file}: folders {folders[number]!r} and {folder!r} stand for the same class {value!r}")
        folders[number] = folder
    spoken_for = set(content)
    return [
        folders.get(k) or (names[k] if k < len(names) and names[k] not in spoken_for else f"(class {k})")
        for k in range(num_classes)
    ]


def real_score(file: str, predictions: Predictions, source: Source) -> RealScore:
    """ImageNet-ReaL's score: `file` lists the right classes of each validation image, by the number in its name.

    Images without a right class count nowhere. Raises DataError.
    """
    labels = _read(file)
    if not isinstance(labels, list) or not all(isinstance(item, list) for item in labels):
        raise DataError(f"{file}: is no list of lists of class numbers, as real.json is")
    right = count = 0
    for index, answer in enumerate(predictions.classes[:, 0].tolist()):
        found = NUMBER_IN_NAME.search(source.path(index))
        number = int(found[1]) if found else 0
        if not 1 <= number <= len(labels):
            raise DataError(
                f"{source.path(index)}: has no number from 1 to {len(labels)} in its name; real_labels goes with the "
                "files of ImageNet's validation split, ILSVRC2012_val_00000001.JPEG and so on"
            )
        if labels[number - 1]:
            count += 1
            right += answer in labels[number - 1]
    if not count:
        raise DataError(f"{file}: has no right class for any image of {source.root}")
    return RealScore(top1=100.0 * right / count, images=count)


def _read(file: str) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({reason_of(error)})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not JSON ({reason_of(error)})") from None


def class_table(predictions: Predictions, names: Sequence[str]) -> list[str]:
    """Lines with the accuracy of each class that has images, lowest first."""
    images, correct = predictions.accuracy_of_classes(len(names))
    shown = np.flatnonzero(images)
    width = max(len(names[k]) for k in shown)
    order = sorted(shown.tolist(), key=lambda k: (correct[k] / images[k], k))
    return [f"{names[k]:{width}}  {100 * correct[k] / images[k]:6.2f} %  ({correct[k]}/{images[k]})" for k in order]
