"""The recipes that come with the package, by name: `-c hrnet_w32_finetune` works without a checkout.

The files are those of `configs/hrnet` in the repository; `mindcv_hrnet/configs` is a link to that folder, and a copy of
it in an installed package. A recipe opens with a comment: its first line is its title.
"""

from pathlib import Path

from mindcv_hrnet.errors import ConfigError, nearest

SHELF = Path(__file__).resolve().parent.parent / "configs"
SUFFIX = ".yaml"


def recipe_names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(path.stem for path in SHELF.glob(f"*{SUFFIX}"))


def recipe_path(given: str) -> str:
    """The file that `-c` names: a path, or the name of a shipped recipe where no such file is there."""
    if given not in recipe_names() or Path(given).exists():
        return given
    return str(SHELF / f"{given}{SUFFIX}")


def read_recipe(name: str) -> str:
    """The text of a shipped recipe. Raises ConfigError."""
    if name not in recipe_names():
        raise ConfigError(f"unknown recipe '{name}'{nearest(name, recipe_names())}; see mindcv-hrnet recipes")
    return (SHELF / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def title_of(text: str) -> str:
    """The first comment line of a recipe."""
    return text.partition("\n")[0].lstrip("# ").strip()
