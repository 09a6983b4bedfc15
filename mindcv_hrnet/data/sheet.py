"""A page of small pictures with words below them. Imports nothing of the package."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE, LINES, LINE, GAP = 160, 3, 13, 4
CAPTION = LINES * LINE + 4
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


class Tile(NamedTuple):
    """(H, W, 3) uint8 and the lines below it."""

    image: np.ndarray
    caption: str


def draw_sheet(grid: Sequence[Sequence[Tile]], last: int = 0) -> Image.Image:
    """All rows; the `last` tiles of each stand in the last columns, however many there are before them."""
    columns = max(map(len, grid))
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, len(grid) * (TILE + CAPTION + GAP) + GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for row, tiles in enumerate(grid):
        for number, tile in enumerate(tiles):
            column = number if number < len(tiles) - last else columns - len(tiles) + number
            left, top = GAP + column * (TILE + GAP), GAP + row * (TILE + CAPTION + GAP)
            picture = _filling(Image.fromarray(tile.image))
            sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
            for line, text in enumerate(_wrapped(tile.caption, font)):
                pen.text((left, top + TILE + line * LINE), text, fill=_INK, font=font)
    return sheet


def _filling(picture: Image.Image) -> Image.Image:
    """As large as a tile allows; enlarged pixels stay squares."""
    scale = TILE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(caption: str, font: _Font) -> list[str]:
    """The lines of a caption, wrapped at spaces to the width of a tile; what does not fit ends in an ellipsis."""
    lines = []
    for line in caption.split("\n"):
        first, *words = line.split(" ")
        lines.append(first)
        for word in words:
            if font.getlength(f"{lines[-1]} {word}") <= TILE:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
    if len(lines) > LINES:
        lines[LINES - 1] += " …"
    return [_fitting(line, font) for line in lines[:LINES]]


def _fitting(text: str, font: _Font) -> str:
    if font.getlength(text) <= TILE:
        return text
    while font.getlength(f"{text}…") > TILE:
        text = text[:-1]
    return f"{text}…"
