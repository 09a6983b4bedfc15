"""The split job: a folder of class folders becomes a training and a validation split."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mindcv_hrnet.data.splitting import split_folder
from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.files import absolute

SHOWN = 5


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet split",
        description="Divide a folder of class folders into OUT/train and OUT/val, as training wants them. The images "
        "stay where they are: OUT holds links. The same seed gives the same split; equal files stay on one side.",
    )
    parser.add_argument("source", metavar="IN", help="folder with one folder of images per class")
    parser.add_argument("target", metavar="OUT", help="folder to make")
    parser.add_argument("--val", type=float, default=0.2, help="share of each class for validation (default 0.2)")
    parser.add_argument("--seed", type=int, default=42, help="another seed, another split (default 42)")
    parser.add_argument("--copy", action="store_true", help="copy the images instead of linking to them")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    if not 0 < options.val < 1:
        raise ConfigError(f"command line: val: {options.val:g} is not accepted; must be > 0 and < 1")
    options.source, options.target = absolute(options.source), absolute(options.target)
    return options


def run(options: Namespace) -> None:
    """Split, print how many images went where, and what to do next."""
    done = split_folder(
        Path(options.source), Path(options.target), share=options.val, seed=options.seed, copy=options.copy
    )
    width = max(map(len, (*done.train, "class")))
    print(f"{'class':{width}}  train   val")
    for name in done.train:
        print(f"{name:{width}}  {done.train[name]:5d} {done.val[name]:5d}")
    print(f"{'all':{width}}  {sum(done.train.values()):5d} {sum(done.val.values()):5d}")
    if done.copies:
        print(f"{done.copies} images equal another one; each lies on the side of the other")
    for first, second in done.mislabelled[:SHOWN]:
        print(f"one of two labels is wrong: {first} equals {second}")
    if len(done.mislabelled) > SHOWN:
        print(f"... and {len(done.mislabelled) - SHOWN} more such pairs")
    without = [name for name, count in done.val.items() if not count]
    if without:
        print(f"too few images to validate: {', '.join(without)}")
    print(f"next: mindcv-hrnet train -c hrnet_w32_finetune --data_dir {options.target}")
