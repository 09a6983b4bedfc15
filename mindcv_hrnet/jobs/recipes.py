"""The recipes job: what recipes the package brings."""

from argparse import Namespace
from collections.abc import Sequence

from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.recipe.shelf import read_recipe, recipe_names, title_of


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet recipes",
        description="List the recipes that come with this package; -c takes their names.",
    )
    parser.add_argument("name", nargs="?", default="", help="print this recipe")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    return build_parser().parse_args(argv)


def run(options: Namespace) -> None:
    """Print one recipe, or a line for each."""
    if options.name:
        print(read_recipe(options.name), end="")
        return
    width = max(map(len, recipe_names()))
    for name in recipe_names():
        print(f"{name:{width}}  {title_of(read_recipe(name))}")
