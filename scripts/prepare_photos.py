"""Cuts three photographs of scikit-image (CC0: bricks, grass, gravel) into tiles, one folder for each.

    python scripts/prepare_photos.py --out photos    # docs/finetune.md goes on from there

The tiles do not overlap, so none of them shows a part of another.
"""

import argparse
from pathlib import Path

import skimage.data
from PIL import Image

CLASSES = ("brick", "grass", "gravel")
SIDE = 64


def write_tiles(folder: Path, side: int = SIDE) -> int:
    """Write folder/CLASS/ROW-COLUMN.png, each `side` pixels square; returns how many."""
    written = 0
    for name in CLASSES:
        photograph = getattr(skimage.data, name)()  # (512, 512) uint8
        (folder / name).mkdir(parents=True, exist_ok=True)
        for top in range(0, photograph.shape[0] - side + 1, side):
            for left in range(0, photograph.shape[1] - side + 1, side):
                tile = Image.fromarray(photograph[top : top + side, left : left + side])
                tile.save(folder / name / f"{top // side}-{left // side}.png")
                written += 1
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("photos"), help="folder to make")
    options = parser.parse_args()
    print(f"{write_tiles(options.out)} photographs in {options.out}")
