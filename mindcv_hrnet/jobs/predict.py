"""The prediction job: images in files, folders and lists, classified by a model file or a run folder."""

from __future__ import annotations

import glob
import logging
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from PIL import Image

from mindcv_hrnet.data.decode import UnreadableImage, decode
from mindcv_hrnet.data.sheet import TILE, Tile, draw_sheet
from mindcv_hrnet.data.sources.folder_index import SUFFIXES
from mindcv_hrnet.deploy.classifier import BATCH_SIZE, TOP, Classifier, Prediction
from mindcv_hrnet.deploy.metadata import Metadata, digest
from mindcv_hrnet.deploy.rows import FORMATS
from mindcv_hrnet.deploy.runner import CellModel, Model, load_model
from mindcv_hrnet.errors import CheckpointError, ConfigError, DataError
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.files import absolute, expand_home, write_atomically
from mindcv_hrnet.runtime.progress import progress_bar

logger = logging.getLogger(__name__)

SHEET_IMAGES, SHEET_COLUMNS = 200, 10
RECIPE = "config.yaml"


class Found(NamedTuple):
    """An image as the user named it, and its absolute path."""

    name: str
    path: str


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet predict",
        usage="%(prog)s MODEL IMAGE [IMAGE ...] [options]",
        description="Classify images with an exported network or a run folder.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL IMAGE",
        help="MODEL: .mindir or .onnx file, or run folder. IMAGE: file, folder with all below it, pattern, or - for a "
        "list of these on stdin",
    )
    parser.add_argument("--model", default="", help="the model, in place of the first word")
    parser.add_argument("--top", type=int, default=TOP, help=f"classes per image (default {TOP})")
    parser.add_argument("--format", choices=tuple(FORMATS), default="table", help="of the answers (default table)")
    parser.add_argument("--out", metavar="FILE", default="", help="where the answers go (default stdout)")
    parser.add_argument("--sheet", metavar="FILE.png", default="", help="draw the images with their answers")
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE, help=f"images at once (default {BATCH_SIZE})")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line, its images found. Raises ConfigError or DataError."""
    options = build_parser().parse_intermixed_args(argv)
    words = options.words
    if not options.model and words:
        options.model, *words = words
    missing = [name for name, given in (("MODEL", options.model), ("IMAGE", words)) if not given]
    if missing:
        raise ConfigError(f"command line: the following arguments are required: {', '.join(missing)}; see --help")
    for name in ("top", "batch_size"):
        if getattr(options, name) < 1:
            raise ConfigError(f"command line: {name}: {getattr(options, name)} is not accepted; must be >= 1")
    options.images = [found for word in words for found in find_images(word, sys.stdin)]
    for name in ("model", "out", "sheet"):
        setattr(options, name, absolute(getattr(options, name)))
    return options


def find_images(word: str, stdin: TextIO) -> list[Found]:
    """The images that a word of the command line names, in sorted order. A single file need not exist."""
    if word == "-":
        lines = (line.rstrip("\r\n") for line in stdin)
        return [found for line in lines if line.strip() and line != "-" for found in find_images(line, stdin)]
    path = expand_home(word)
    if path.is_dir():
        found = [Found(str(each), absolute(str(each))) for each in sorted(_images_below(path))]
        if not found:
            raise DataError(f"{word}: no image in this folder; looked for {', '.join(SUFFIXES[:5])}, ...")
        return found
    if not path.exists() and glob.has_magic(word):
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise DataError(f"{word}: no file matches this pattern")
        return [found for match in matches for found in find_images(glob.escape(match), stdin)]
    name = str(path)
    return [Found(name, absolute(name))]


def _images_below(folder: Path) -> Iterator[Path]:
    """Image files in a folder and all below it; names that start with a dot are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def run(options: Namespace) -> None:
    """Print or write the answers. Raises DataError after the last one where some images could not be read."""
    for handler in logging.getLogger("mindcv_hrnet").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # stdout is for the answers
    classifier = load_classifier(options.model)
    images: list[Found] = options.images
    answers: list[Prediction] = []
    begun = time.perf_counter()
    lines = FORMATS[options.format](
        _noted(classifier, images, options, answers), [image.name for image in images], options.top
    )
    if options.out:
        write_atomically(Path(options.out), lambda temporary: _write(lines, temporary))
    else:
        _print(lines)
    if len(images) > 1:
        speed = len(images) / (time.perf_counter() - begun)
        logger.info("%d images, %.0f images/s", len(images), speed)
    if options.sheet:
        write_atomically(Path(options.sheet), lambda path: draw_answers(images, answers).save(path, "PNG"))
        logger.info("%s: %d images", options.sheet, min(len(images), SHEET_IMAGES))
    failed = sum(bool(answer.error) for answer in answers)
    if failed:
        raise DataError(f"{failed} of {len(images)} images could not be classified; the answers say why")


def _noted(
    classifier: Classifier, images: Sequence[Found], options: Namespace, answers: list[Prediction]
) -> Iterator[Prediction]:
    """The answers with the names that the user gave; each is appended to `answers` as well."""
    paths = (image.path for image in images)
    with progress_bar(len(images), "predict", Cluster(), unit="image") as bar:
        stream = classifier.stream(paths, top=options.top, batch_size=options.batch_size)
        for image, answer in zip(images, stream, strict=True):
            bar.update()
            answers.append(answer)
            yield Prediction(image.name, answer.labels, answer.probabilities, answer.classes, answer.error)


def _print(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(lines: Iterable[str], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def draw_answers(images: Sequence[Found], answers: Sequence[Prediction]) -> Image.Image:
    """A sheet of the first images, each with its likeliest class."""
    tiles = [_tile(*pair) for pair in zip(images[:SHEET_IMAGES], answers, strict=False)]
    columns = min(SHEET_COLUMNS, math.ceil(math.sqrt(len(tiles))))
    return draw_sheet([tiles[start : start + columns] for start in range(0, len(tiles), columns)])


def _tile(image: Found, answer: Prediction) -> Tile:
    name = Path(image.name).name
    if answer.error:
        return Tile(np.full((TILE, TILE, 3), 200, np.uint8), f"{name}\n{answer.error}")
    try:
        picture = Image.fromarray(decode(Path(image.path).read_bytes()))
    except (UnreadableImage, OSError) as error:  # it was there a moment ago
        return Tile(np.full((TILE, TILE, 3), 200, np.uint8), f"{name}\n{error}")
    picture.thumbnail((TILE, TILE))
    return Tile(np.asarray(picture), f"{answer.labels[0]} {answer.probabilities[0]:.2f}\n{name}")


# --- models --------------------------------------------------------------------------------------------------------


def load_classifier(path: str | os.PathLike[str], *, threads: int | None = None) -> Classifier:
    """The classifier in a .mindir or .onnx file, in a run folder or in one of its checkpoints.

    `threads`: as `deploy.runner.load_model` has it. Raises CheckpointError.
    """
    return Classifier(open_model(expand_home(path), threads))


def open_model(path: Path, threads: int | None = None) -> Model:
    """The model in a file, or the network that a run folder trained. Raises CheckpointError."""
    if path.is_dir():
        return _of_run(path, path)
    if path.is_file() and (path.parent / RECIPE).is_file() and path.suffix == ".ckpt":
        return _of_run(path.parent, path)
    return load_model(path, threads=threads)


def _of_run(folder: Path, weights: Path) -> Model:
    """The network of a run's recipe with `weights`: a checkpoint, or the folder for its best one."""
    if not (folder / RECIPE).is_file():
        raise CheckpointError(f"{folder}: has no {RECIPE}; pass a run folder, a .mindir or an .onnx file")
    from mindcv_hrnet.engine.load import load_network
    from mindcv_hrnet.engine.start import start

    config = parse_config(["-c", str(folder / RECIPE)])
    settings = {"distribute": None, "device_target": "auto", "mode": 1, "pretrained": False, "pretrained_url": ""}
    plain = {"export_batch_size": 0, "export_dynamic_size": False, "export_input": "float32"}
    config = config.override(ckpt_path=str(weights), resume_opt=False, recompute=False, **settings, **plain)
    start(config.system)
    loaded = load_network(config)
    metadata = Metadata.of(config, loaded.class_names, weights_digest=digest(loaded.arrays))
    return CellModel(loaded.network.set_train(False), metadata, "checkpoint")
