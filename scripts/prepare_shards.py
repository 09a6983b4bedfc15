#!/usr/bin/env python
"""Pack an image folder into a few big files, one per class, which disks and shares read faster than many small ones.

    python scripts/prepare_shards.py --folder D --out E --format mindrecord

`D/<split>/<class>/**/<image>` becomes `E/<split>/<class>.tar`, or `<class>.mindrecord` with its `.db` and a
`classes.txt`; splits are `train` and, where there is one, `val`. Training on E has the images, labels and order of D.

A run that was broken off goes on where it stopped: what is finished stands in E/<split>/SHA256SUMS, what is to come in
plan.json beside it. A D whose classes or images have changed since needs another E. `--check` reads everything again
and compares (`sha256sum -c SHA256SUMS` does the same).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from one_line_errors import one_line_errors

from mindcv_hrnet.data.packing import Image, Ledger, Plan, check_packed, packed_name, write_class_names, writer_of
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.errors import DataError

SPLITS = ("train", "val")
FORMATS = ("tar", "mindrecord")


def image_of(path: Path, number: int) -> Image:
    """Numbered, because names from several sub-folders, or with two suffixes, may be the same."""
    return Image(f"{number:07d}_{path.name}", path.stat().st_size, path.read_bytes)


def prepare(source: ImageFolder, ledger: Ledger, kind: str) -> None:
    if kind == "mindrecord":
        write_class_names(ledger, source.class_names)
    for label, class_name in enumerate(source.class_names):
        name = packed_name(class_name, kind)
        if ledger.done(name):
            continue
        places = (source.labels == label).nonzero()[0].tolist()
        images = [image_of(Path(source.path(index)), number) for number, index in enumerate(places)]
        if images:
            ledger.finish(name, writer_of(kind, images, label))
            print(f"{ledger.folder.name}: {label + 1} of {len(source.class_names)} classes, {name}", file=sys.stderr)


def prepare_splits(folder: Path, out: Path, kind: str) -> None:
    """All plans come first: an error in the last split shows before hours of work on the first one."""
    if out.resolve() in (folder.resolve(), *(folder.resolve() / split for split in SPLITS)):
        raise DataError(f"--out {out}: the image folder itself; give a folder of its own")
    class_names, begun = None, []
    for split in SPLITS:
        if split == "train" or (folder / split).is_dir():
            source = ImageFolder(folder / split, class_names)
            class_names, ledger = source.class_names, Ledger(out / split)
            counts = np.bincount(source.labels, minlength=len(class_names)).tolist()
            ledger.agree_on_plan(Plan(kind, "images", dict(zip(class_names, counts, strict=True))))
            begun.append((source, ledger))
    for source, ledger in begun:
        prepare(source, ledger, kind)
        print(f"{ledger.folder.name}: {len(ledger.finished_classes())} classes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="image folder with train and, if there is one, val")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--format", choices=FORMATS, default="mindrecord", help="kind of file to write")
    parser.add_argument("--check", action="store_true", help="compare what is there with its checksums, and stop")
    options = parser.parse_args()
    with one_line_errors():
        if options.check:
            print(check_packed(options.out, SPLITS))
            return
        if options.folder is None:
            parser.error("--folder is missing")
        prepare_splits(options.folder, options.out, options.format)


if __name__ == "__main__":
    main()
