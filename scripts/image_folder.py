"""What the scripts share that write small images as a folder: OUT/{train,val}/<class>/<number>.png, whole or absent."""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from one_line_errors import one_line_errors
from PIL import Image

Sample = tuple[str, str, int, Image.Image]
"""Split, class, number, image."""


def write_folder(out: Path, samples: Callable[[], Iterator[Sample]]) -> dict[str, int]:
    """Write the samples, unless a finished folder is there, and count the images of each split."""
    if not (out / "val").is_dir():
        # a folder under another name until it is complete: a broken-off run leaves no half data set behind
        unfinished = out.with_name(f".{out.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for split, class_name, number, image in samples():
            folder = unfinished / split / class_name
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:04d}.png")
        unfinished.rename(out)
    return {split: len(list((out / split).glob("*/*.png"))) for split in ("train", "val")}


def run(description: str | None, samples: Callable[[], Iterator[Sample]]) -> None:
    """The command line of such a script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    options = parser.parse_args()
    with one_line_errors():
        counts = write_folder(options.out, samples)
    print(f"{counts['train']} training and {counts['val']} validation images")
