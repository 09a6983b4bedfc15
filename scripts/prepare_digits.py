#!/usr/bin/env python
"""Write scikit-learn's 1,797 handwritten digits as an image folder: OUT/{train,val}/<digit>/<number>.png.

A real data set that comes with a package: 80 % of each digit for training, 20 % for validation, the same split every
time. The 8 x 8 originals are enlarged to 32 x 32 grey PNG. A finished folder is left as it is.
"""

from collections.abc import Iterator

import image_folder
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 32


def samples() -> Iterator[image_folder.Sample]:
    digits = load_digits()
    numbers = np.arange(len(digits.target))
    splits = train_test_split(numbers, test_size=0.2, stratify=digits.target, random_state=0)
    for split, chosen in zip(("train", "val"), splits, strict=True):
        for number in chosen.tolist():
            grey = Image.fromarray(np.rint(digits.images[number] * (255 / 16)).astype(np.uint8))
            yield split, str(digits.target[number]), number, grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def main() -> None:
    image_folder.run(__doc__, samples)


if __name__ == "__main__":
    main()
