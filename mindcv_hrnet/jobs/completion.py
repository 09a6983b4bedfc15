"""The completion job: a script by which a shell completes commands, keys, choices, recipes and files."""

import argparse
import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import SECTIONS
from mindcv_hrnet.recipe.schema import Parser, annotations
from mindcv_hrnet.recipe.shelf import recipe_names

SHELLS = ("bash", "zsh", "fish")
HOW = """\
  bash  mindcv-hrnet completion bash > ~/.local/share/bash-completion/completions/mindcv-hrnet
  zsh   mindcv-hrnet completion zsh > FOLDER/_mindcv-hrnet, where FOLDER is in $fpath
  fish  mindcv-hrnet completion fish > ~/.config/fish/completions/mindcv-hrnet.fish
"""
RECIPES = "_mindcv_hrnet_recipes"
# Names of recipes, or files: what follows -c
RECIPE_FUNCTIONS = {
    "bash": """\
{function}() {{
  compgen -W "{names}" -- "$1"
  compgen -f -X '!*.y*ml' -- "$1"
  compgen -d -- "$1"
}}""",
    "zsh": """\
{function}() {{
  compadd -- {names}
  _files -g '*.y*ml'
}}""",
    "fish": "",
}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet completion",
        description="Print a script by which a shell completes commands, keys, choices, recipes and files.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=HOW,
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    return parser


def script(
    shell: str,
    parsers: Mapping[str, argparse.ArgumentParser],
    summaries: Mapping[str, str],
    on_recipes: Collection[str],
) -> str:
    """The script for one of `SHELLS`. Raises ConfigError.

    parsers, summaries: those of each command. on_recipes: the commands whose options are the keys of a recipe.
    """
    if importlib.util.find_spec("shtab") is None:
        raise ConfigError("completion needs the package 'shtab'; pip install 'mindcv-hrnet[completion]'")
    import shtab

    names = " ".join(recipe_names())
    root = argparse.ArgumentParser("mindcv-hrnet")
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers()
    for command, parser in parsers.items():
        for action in parser._actions:
            if action.help == argparse.SUPPRESS:
                continue
            if action.dest == "config":
                fish = f"{names} (__fish_complete_suffix .yaml)"
                action.complete = {"bash": RECIPES, "zsh": RECIPES, "fish": fish}  # type: ignore[attr-defined]
            elif action.dest == "name":
                action.choices = recipe_names()
            elif command in on_recipes:
                _complete_key(action, shtab.FILE)
            else:
                _complete_option(action, shtab.FILE)
        commands.add_parser(command, parents=[parser], add_help=False, help=summaries[command])
    functions: Any = {kind: text.format(function=RECIPES, names=names) for kind, text in RECIPE_FUNCTIONS.items()}
    return str(shtab.complete(root, shell, preamble=functions))


def _complete_key(action: argparse.Action, files: Mapping[str, Any]) -> None:
    """Tell the generator what may follow a recipe key, whose values are texts to argparse."""
    section = next((each for each in SECTIONS.values() if action.dest in annotations(each)), None)
    if section is None:
        return
    kind = annotations(section)[action.dest]
    choices = next(item.metadata["choices"] for item in fields(section) if item.name == action.dest)
    if choices or kind in (bool, bool | None):
        action.choices = tuple(map(str, choices or (True, False)))
    elif kind is str:
        action.complete, action.nargs = files, None  # type: ignore[attr-defined]


def _complete_option(action: argparse.Action, files: Mapping[str, Any]) -> None:
    """Tell the generator that a text which is free names a file."""
    if not action.choices and action.nargs != 0 and action.type in (None, str):
        action.complete = files  # type: ignore[attr-defined]
