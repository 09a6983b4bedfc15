"""The new job: a recipe of one's own, begun from one that comes with the package."""

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import SECTIONS
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.recipe.shelf import SUFFIX, read_recipe
from mindcv_hrnet.runtime.files import absolute, write_text


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet new",
        description="Write a recipe of your own, with the meaning of each key beside it. All keys: train --help.",
    )
    parser.add_argument("target", metavar="FILE.yaml", help="file to write")
    parser.add_argument(
        "--from",
        dest="name",
        metavar="NAME",
        default="hrnet_w32_finetune",
        help="recipe to begin with (default %(default)s)",
    )
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    options.target = absolute(options.target)
    return options


def run(options: Namespace) -> None:
    """Write the file. Raises ConfigError for a file that is there, a name that is not, another suffix."""
    target = Path(options.target)
    if target.suffix != SUFFIX:
        raise ConfigError(f"{target}: a recipe's name ends in {SUFFIX}")
    if target.exists():
        raise ConfigError(f"{target}: is there already; choose another name")
    write_text(target, with_meanings(read_recipe(options.name)))
    print(f"{target}: begun from {options.name}; next: mindcv-hrnet train -c {target}")


def with_meanings(text: str) -> str:
    """A recipe whose every key has its meaning beside it, as the key's declaration says it."""
    meanings = {item.name: item.metadata["help"] for section in SECTIONS.values() for item in fields(section)}
    lines = text.splitlines()
    found = [re.match(r"([a-z]\w*): .*", line) for line in lines]
    width = max(len(line) for line, key in zip(lines, found, strict=True) if key)
    explained = [
        f"{line:{width}}  # {meanings[key[1]]}" if key and "#" not in line else line
        for line, key in zip(lines, found, strict=True)
    ]
    return "\n".join(explained) + "\n"
