"""The conversion job: weights of any kind in, a file of the kind that the suffix says out."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.models.variants import identify
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.files import absolute
from mindcv_hrnet.weights import Weights, read_weights, write_weights
from mindcv_hrnet.weights.naming import HEAD_BIAS, to_pytorch_name
from mindcv_hrnet.weights.write import FILE_KINDS, default_names

logger = logging.getLogger(__name__)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet convert",
        description="Convert HRNet weights between MindSpore (.ckpt), PyTorch (.pth, .pth.tar, .pt) and .safetensors. "
        "The input is recognised by its content, the output is what its suffix says. Neither framework's loader runs.",
    )
    parser.add_argument("source", metavar="IN", help="file to read")
    parser.add_argument("target", metavar="OUT", help="file to write")
    whose = "whose names a .safetensors file gets (default pytorch)"
    parser.add_argument("--names", choices=("mindcv", "pytorch"), default="", help=whose)
    parser.add_argument("--list", action="store_true", help="print every name as MindCV and PyTorch have it")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    options.source, options.target = absolute(options.source), absolute(options.target)
    return options


def run(options: Namespace) -> None:
    """Convert what the command line names."""
    convert(options.source, options.target, options.names, every_name=options.list)


def convert(source: str, target: str, names: str = "", every_name: bool = False) -> Path:
    """Convert the weights in `source` to `target`, and print what became of them.

    `names` ("mindcv" or "pytorch") is for safetensors files and `.ckpt` for MindCV's alone; empty takes the kind's own.
    """
    path = Path(target)
    if names and names != default_names(path) and path.suffix != ".safetensors":
        kind = FILE_KINDS[path.suffix]
        raise UserError(f"{target}: {kind}s have {default_names(path)} names; leave out --names {names}")
    names = names or default_names(path)
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise UserError(f"{target}: is the file to read; name another one to write")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: folder not found; make it first")
    from mindcv_hrnet.engine.classes import names_of_weights  # imports MindSpore

    weights = read_weights(source)
    variant = check_complete(weights, source)
    logger.info("read     %s: %s, %d entries", source, weights.kind, weights.entries)
    for remark in weights.remarks:
        logger.info("         %s", remark)
    classes, channels = weights.arrays["classifier.weight"].shape[0], weights.arrays["conv1.weight"].shape[1]
    tensors = len(weights.arrays)
    logger.info("network  %s, %d classes, %d image channels, %d tensors", variant, classes, channels, tensors)
    class_names = names_of_weights(source, weights)
    written = write_weights(weights.arrays, path, names, class_names)
    whose = {"mindcv": "MindCV's", "pytorch": "PyTorch's"}[names]
    size = path.stat().st_size / 1e6
    kind = FILE_KINDS[path.suffix]
    logger.info("written  %s: %s, %s names, %d entries, %.1f MB", target, kind, whose, len(written), size)
    if class_names:
        logger.info("         with the names of its classes (%s, ...)", ", ".join(class_names[:3]))
    if names == "pytorch":
        added = [name for name in written if HEAD_BIAS.fullmatch(name)]
        counters = sum(name.endswith("num_batches_tracked") for name in written)
        logger.info("         %d biases of zero and %d counters added, as PyTorch has them", len(added), counters)
    if every_name:
        for name in weights.arrays:
            logger.info("         %s = %s in PyTorch", name, to_pytorch_name(name))
    return path


def check_complete(weights: Weights, source: str) -> str:
    """The variant whose weights these are; CheckpointError unless they are all of one HRNet classifier's."""
    from mindspore.nn.utils import no_init_parameters

    from mindcv_hrnet.models import create_model
    from mindcv_hrnet.weights.fit import check_fit, shapes_of

    arrays = weights.arrays
    variant = identify({name: array.shape for name, array in arrays.items()})
    if not variant or "classifier.weight" not in arrays or arrays["conv1.weight"].ndim != 4:
        shown = ", ".join(list(arrays)[:3])
        raise CheckpointError(f"{source}: holds no HRNet classifier; its {len(arrays)} weights are called {shown}, ...")
    with no_init_parameters():
        network = create_model(variant, arrays["classifier.weight"].shape[0], arrays["conv1.weight"].shape[1])
    check_fit(shapes_of(network), arrays, source)
    return variant
