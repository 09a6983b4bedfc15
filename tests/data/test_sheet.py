"""Tiles, captions and where they stand."""

import numpy as np
from PIL import ImageFont

from mindcv_hrnet.data import sheet as module


def test_the_sheet_has_room_for_every_tile():
    tile = module.Tile(np.zeros((10, 20, 3), np.uint8), "a caption that is much too long for its tile, really\nb")
    sheet = module.draw_sheet([[tile] * 5, [tile] * 7], last=3)
    assert sheet.size == (7 * 164 + 4, 2 * 207 + 4)
    rows = np.asarray(sheet)[[4 + 80, 4 + 207 + 80]]  # through the pictures, of which the first row has two less
    filled = [[part.min() < 255 for part in np.split(row[4:], 7)] for row in rows]
    assert filled == [[True, True, False, False, True, True, True], [True] * 7]


def test_small_images_fill_their_tile_with_square_pixels():
    pixels = np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    sheet = np.asarray(module.draw_sheet([[module.Tile(pixels, "")]]))
    assert (sheet[4:164, 4:164] == pixels.repeat(5, axis=0).repeat(5, axis=1)).all()


def test_captions_are_wrapped_and_shortened():
    font = ImageFont.load_default(11)
    lines = module._wrapped("7\n500x375 00012.mindrecord: image at byte 5368709120", font)
    assert " ".join(lines) == "7 500x375 00012.mindrecord: image at byte 5368709120" and len(lines) == 3
    lines = module._wrapped("a-name-without-a-single-space-to-break-it-at\n" + "word " * 40, font)
    assert len(lines) == 3 and lines[0].endswith("…") and lines[2].endswith("…")
    assert all(font.getlength(line) <= module.TILE for line in lines)
