"""What the scripts share that lay out a data set: files that are whole or absent, with checksums, in three formats."""

import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

CHUNK = 1 << 20
CLASSES_FILE, SUMS_FILE = "classes.txt", "SHA256SUMS"
# A MindRecord file is a header, which lists the pages, and pages of one size, the last one filled with zeros
HEADER, PAGE, LARGEST_PAGE = 1 << 20, 1 << 22, 1 << 28
ROWS_AT_ONCE = 64


class Image(NamedTuple):
    """A file to lay out: its name, its size in bytes, and how to read it."""

    name: str
    size: int
    read: Callable[[], bytes]


class Ledger:
    """OUT/<split>/SHA256SUMS: a line per finished file (or class folder), written when it is whole on the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / SUMS_FILE
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

    def classes(self) -> list[str]:
        """The names of the classes laid out so far, sorted."""
        return sorted({Path(name).stem for name in self.sums if not name.endswith((".db", ".txt"))})

    def wrong(self) -> list[str]:
        """Names whose content is not what was written."""
        return [name for name, digest in self.sums.items() if digest_of(self.folder / name) != digest]

    def finish(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make a file or folder (and others beside it) in a folder aside, then note and place them all."""
        aside = self.folder / f".{name}.unfinished"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        write(aside / name)
        # `name` itself comes last, because it tells that all is done
        for made in sorted(aside.iterdir(), key=lambda path: (path.name == name, path.name)):
            sync(made)
            digest, final = digest_of(made), self.folder / made.name
            if final.is_dir():
                shutil.rmtree(final)
            os.replace(made, final)
            self.add(made.name, digest)
        aside.rmdir()


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


def sync(path: Path) -> None:
    """Wait until a file, or every file in a folder, is on the disk."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def check(out: Path, splits: Sequence[str]) -> None:
    """Read everything below `out` again and exit, with an error where a checksum differs."""
    ledgers = [Ledger(out / split) for split in splits if (out / split / SUMS_FILE).exists()]
    if not ledgers:
        sys.exit(f"error: {out}: no {SUMS_FILE} in {' or '.join(splits)}; give the folder that was filled")
    wrong = [f"{ledger.folder.name}/{name}" for ledger in ledgers for name in ledger.wrong()]
    sys.exit(f"error: damaged or missing: {', '.join(wrong)}" if wrong else None)


def write_class_names(ledger: Ledger, names: Sequence[str]) -> None:
    """`classes.txt`: line n + 1 names class n."""
    if not ledger.done(CLASSES_FILE):
        ledger.finish(CLASSES_FILE, lambda path: _write_lines(path, names))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def name_of(class_name: str, kind: str) -> str:
    """The file or folder of a class."""
    return class_name if kind == "folder" else f"{class_name}.{kind}"


def writer_of(kind: str, images: Sequence[Image], label: int) -> Callable[[Path], None]:
    """What writes the images of a class as `kind`: tar, mindrecord or folder."""
    if kind == "mindrecord":
        return lambda path: write_mindrecord(path, images, label)
    return lambda path: (write_tar if kind == "tar" else write_folder)(path, images)


def write_tar(path: Path, images: Sequence[Image]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:
        for image in images:
            info = tarfile.TarInfo(image.name)
            info.size = image.size
            out.addfile(info, BytesIO(image.read()))


def write_folder(path: Path, images: Sequence[Image]) -> None:
    path.mkdir()
    for image in images:
        (path / image.name).write_bytes(image.read())


def write_mindrecord(path: Path, images: Sequence[Image], label: int) -> None:
    """One MindRecord file (and its `.db`) with the fields file_name, data and label, as MindSpore's ImageNetToMR."""
    from mindspore.mindrecord import FileWriter

    largest = max(image.size for image in images) + 64
    if largest > LARGEST_PAGE:
        sys.exit(f"error: {path.name}: an image of {largest} bytes does not fit into a MindRecord page; make tars")
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
