#!/usr/bin/env python
"""Write scikit-learn's 1,797 handwritten digits as an image folder: OUT/{train,val}/<digit>/<number>.png.

A real data set that comes with a package: 80 % of each digit for training, 20 % for validation, the same split every
time. The 8 x 8 originals are enlarged to 32 x 32 grey PNG. A finished folder is left as it is.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 32


def write_digits(out: Path) -> dict[str, int]:
    """Write both splits, unless they are there, and count their images."""
    if not (out / "val").is_dir():
        digits = load_digits()
        numbers = np.arange(len(digits.target))
        splits = train_test_split(numbers, test_size=0.2, stratify=digits.target, random_state=0)
        # a folder under another name until it is complete: a broken-off run leaves no half data set behind
        unfinished = out.with_name(f".{out.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for split, chosen in zip(("train", "val"), splits, strict=True):
            for number in chosen:
                folder = unfinished / split / str(digits.target[number])
                folder.mkdir(parents=True, exist_ok=True)
                grey = Image.fromarray(np.rint(digits.images[number] * (255 / 16)).astype(np.uint8))
                grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png")
        unfinished.rename(out)
    return {split: len(list((out / split).glob("*/*.png"))) for split in ("train", "val")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    options = parser.parse_args()
    try:
        counts = write_digits(options.out)
    except OSError as error:
        raise SystemExit(f"error: {error.filename}: {error.strerror}; mend that and run again") from None
    print(f"{counts['train']} training and {counts['val']} validation images")


if __name__ == "__main__":
    main()
