"""Lays out a data set for training: files that are whole or absent, with checksums, as tars, MindRecord or folders.

Options that messages name are those of scripts/prepare_shards.py and scripts/prepare_imagenet.py. What goes wrong with
a file raises DataError or OSError.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from mindcv_hrnet.data.sources.shards import CLASSES_FILE
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import digest_of

SUMS_FILE, PLAN_FILE = "SHA256SUMS", "plan.json"
# A MindRecord file is a header, which lists the pages, and pages of one size, the last one filled with zeros
HEADER, PAGE, LARGEST_PAGE = 1 << 20, 1 << 22, 1 << 28
ROWS_AT_ONCE = 64
ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names may be any bytes


class Image(NamedTuple):
    """A file to lay out: its name, its size in bytes, and how to read it."""

    name: str
    size: int
    read: Callable[[], bytes]


class Ledger:
    """What a folder OUT/<split> is to hold and what of it is finished.

    plan.json is written first: the format and, by class, how much goes into it. SHA256SUMS has a line per finished file
    (or class folder), once it is whole on the disk.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / SUMS_FILE
        text = self.path.read_text(**ENCODING) if self.path.exists() else ""
        # a crash may leave half a line, of a file that is then made again
        lines = text[: text.rfind("\n") + 1].splitlines()
        self.sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}
        self.plan = self._read_plan(folder)

    def done(self, name: str) -> bool:
        """Whether the file is noted as finished and still there."""
        return name in self.sums and (self.folder / name).exists()

    def add(self, digests: dict[str, str]) -> None:
        """Note finished files with their SHA-256, in one write."""
        self.sums |= digests
        write_whole(self.path, "".join(f"{digest}  {name}\n" for name, digest in self.sums.items()))

    def finished_classes(self) -> list[str]:
        """The classes laid out so far, in the order of their labels."""
        return [name for name in self.plan.classes if self.plan.file_of(name) in self.sums]

    def damaged_names(self) -> list[str]:
        """Names whose content is not what was written."""
        return [name for name, digest in self.sums.items() if digest_of_packed(self.folder / name) != digest]

    def missing_classes(self) -> list[str]:
        """Classes of the plan that were not finished."""
        finished = set(self.finished_classes())
        return [name for name, amount in self.plan.classes.items() if amount and name not in finished]

    def agree_on_plan(self, plan: "Plan") -> None:
        """Note the plan. DataError where something else was begun here: labels follow from the classes."""
        for other in sorted(self.folder.parent.glob(f"*/{PLAN_FILE}")):
            kind = self._read_plan(other.parent).kind
            if kind != plan.kind:
                raise DataError(f"{other.parent}: was begun as --format {kind}; give that, or another --out")
        before, now = self.plan.classes, plan.classes
        if (before or self.sums) and list(before) != list(now):
            differing = sorted(before.keys() ^ now.keys()) or ["their order"]
            earlier = f"{len(before)} classes, now {len(now)} (differing: {differing[0]})" if before else "no plan.json"
            raise DataError(f"{self.folder}: was begun with {earlier}; give another --out")
        for name, amount in now.items():
            if self.done(plan.file_of(name)) and before[name] != amount:
                raise DataError(
                    f"{self.folder / plan.file_of(name)}: was made of {before[name]} {plan.unit}, "
                    f"now there are {amount}; give another --out"
                )
        if self.plan != plan:
            write_whole(self.folder / PLAN_FILE, json.dumps(plan._asdict(), indent=1, ensure_ascii=False) + "\n")
            self.plan = plan

    def finish(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make a file or folder (and others beside it) in a folder aside, then place and note them all."""
        aside = self.folder / f".{name}.unfinished"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        write(aside / name)
        digests = {}
        for made in sorted(aside.iterdir()):
            sync(made)
            digests[made.name], final = digest_of_packed(made), self.folder / made.name
            if final.is_dir():
                shutil.rmtree(final)
            os.replace(made, final)
        self.add(digests)
        aside.rmdir()

    @staticmethod
    def _read_plan(folder: Path) -> "Plan":
        path = folder / PLAN_FILE
        try:
            return Plan(**json.loads(path.read_text(**ENCODING))) if path.exists() else Plan("", "", {})
        except (ValueError, TypeError):
            raise DataError(f"{path}: is damaged; give another --out") from None


class Plan(NamedTuple):
    """What goes into a split: the format, and by class, in the order of the labels, so many images or bytes."""

    kind: str
    unit: str
    classes: dict[str, int]

    def file_of(self, class_name: str) -> str:
        """The file or folder in which the images of a class lie."""
        return packed_name(class_name, self.kind)


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.unfinished")
    aside.write_text(text, **ENCODING)
    sync(aside)
    os.replace(aside, path)


def digest_of_packed(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents in a folder; empty where there is nothing."""
    if not path.is_dir():
        return digest_of(path) if path.exists() else ""
    digest = hashlib.sha256()
    for image in sorted(path.iterdir()):
        digest.update(image.name.encode() + image.read_bytes())
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or every file in a folder, is on the disk."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def check_packed(out: Path, splits: Sequence[str]) -> str:
    """Read everything below `out` again and say how much it is. DataError: a checksum differs or a class is missing."""
    begun = [out / split for split in splits if any((out / split / name).exists() for name in (SUMS_FILE, PLAN_FILE))]
    ledgers = [Ledger(folder) for folder in begun]
    if not ledgers:
        raise DataError(f"{out}: no {SUMS_FILE} in {' or '.join(splits)}; give the folder that was filled")
    wrong = [f"{ledger.folder.name}/{name}" for ledger in ledgers for name in ledger.damaged_names()]
    if wrong:
        raise DataError(f"damaged or missing: {', '.join(wrong)}")
    for ledger in ledgers:
        if missing := ledger.missing_classes():
            planned = sum(amount > 0 for amount in ledger.plan.classes.values())
            raise DataError(f"{ledger.folder}: {len(missing)} of {planned} classes missing: run again")
    what = "class folders" if ledgers[0].plan.kind == "folder" else "files"
    return f"{sum(len(ledger.sums) for ledger in ledgers)} {what}, all as written"


def write_class_names(ledger: Ledger, names: Sequence[str]) -> None:
    """`classes.txt`: line n + 1 names class n."""
    if not ledger.done(CLASSES_FILE):
        ledger.finish(CLASSES_FILE, lambda path: _write_lines(path, names))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def packed_name(class_name: str, kind: str) -> str:
    """The file or folder of a class."""
    return class_name if kind == "folder" else f"{class_name}.{kind}"


def writer_of(kind: str, images: Sequence[Image], label: int) -> Callable[[Path], None]:
    """What writes the images of a class as `kind`: tar, mindrecord or folder."""
    if kind == "mindrecord":
        return lambda path: write_mindrecord(path, images, label)
    return lambda path: (write_tar if kind == "tar" else write_folder)(path, images)


def write_tar(path: Path, images: Sequence[Image]) -> None:
    """Write the images of a class as a tar, under their own names."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:
        for image in images:
            info = tarfile.TarInfo(image.name)
            info.size = image.size
            out.addfile(info, BytesIO(image.read()))


def write_folder(path: Path, images: Sequence[Image]) -> None:
    """Write the images of a class as files of a new folder."""
    path.mkdir()
    for image in images:
        (path / image.name).write_bytes(image.read())


def write_mindrecord(path: Path, images: Sequence[Image], label: int) -> None:
    """One MindRecord file (and its `.db`) with the fields file_name, data and label, as MindSpore's ImageNetToMR."""
    from mindspore.mindrecord import FileWriter

    largest = max(image.size for image in images) + 64
    if largest > LARGEST_PAGE:
        raise DataError(f"{path.name}: an image of {largest} bytes does not fit into a MindRecord page; make tars")
    writer = FileWriter(str(path), shard_num=1)
    writer.set_header_size(HEADER)
    writer.set_page_size(max(PAGE, 1 << (largest - 1).bit_length()))
    writer.add_schema({"file_name": {"type": "string"}, "data": {"type": "bytes"}, "label": {"type": "int32"}})
    writer.add_index(["label"])
    for start in range(0, len(images), ROWS_AT_ONCE):
        rows = images[start : start + ROWS_AT_ONCE]
        writer.write_raw_data([{"file_name": row.name, "data": row.read(), "label": label} for row in rows])
    writer.commit()
    for made in (path, Path(f"{path}.db")):
        made.chmod(0o644)  # MindSpore writes 0600
