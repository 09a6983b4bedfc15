"""The most confident wrong answers as small pictures that travel inside the page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mindcv_hrnet.data.decode import UnreadableImage, decode
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.engine.predictions import Predictions
from mindcv_hrnet.errors import one_line
from mindcv_hrnet.runtime.files import reason_of

SIDE = 176  # pixels of the longer side: sharp at the 132 that the page gives it
QUALITY = 78


class Mistake(NamedTuple):
    """A wrong answer: the picture as a data address, empty where it cannot be shown, and then the reason."""

    picture: str
    reason: str
    label: str
    answer: str
    confidence: float
    """Per cent."""
    own: float
    """What the network gives to the image's own class, per cent."""
    file: str


def confident_mistakes(
    predictions: Predictions, names: Sequence[str], files: Sequence[str], source: Source | None, most: int
) -> list[Mistake]:
    """At most `most` wrong answers, the most confident first. `source`: the images, None where they are not here."""
    found = []
    for index in predictions.worst(most).tolist():
        picture, reason = _picture_of(source, index, files[index])
        found.append(
            Mistake(
                picture=picture,
                reason=reason,
                label=names[predictions.labels[index]],
                answer=names[predictions.classes[index, 0]],
                confidence=100.0 * float(predictions.probabilities[index, 0]),
                own=100.0 * float(predictions.label_probability[index]),
                file=files[index],
            )
        )
    return found


def _picture_of(source: Source | None, index: int, file: str) -> tuple[str, str]:
    if source is None:
        return "", "The images are not here."
    if index >= len(source) or one_line(Path(source.path(index)).name) != one_line(Path(file).name):
        return "", "The data set has another image in this place."
    try:
        return thumbnail(decode(source.read(index))), ""
    except (UnreadableImage, OSError) as error:
        return "", f"The image cannot be read ({reason_of(error)})."


def thumbnail(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 -> a JPEG of at most `SIDE` pixels as a data address; enlarged pixels stay squares."""
    image = Image.fromarray(pixels)
    scale = SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    content = io.BytesIO()
    small = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
