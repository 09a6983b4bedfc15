"""The verification job: are the files of a run folder those that the run has written?"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mindcv_hrnet.engine.history import recorded_recipe
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.files import absolute
from mindcv_hrnet.weights.manifest import MANIFEST, Manifest, damage, is_of_an_epoch


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet verify",
        description="Compare every file of a run folder with the size and the SHA-256 that its manifest has for it.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    options.folder = absolute(options.folder)
    return options


def run(options: Namespace) -> None:
    """Print a line for each file. Raises CheckpointError where one is damaged."""
    folder = Path(options.folder)
    manifest = Manifest.read(folder)
    if manifest is None:
        raise CheckpointError(f"{folder}: has no {MANIFEST}; pass the folder of a run that has saved something")
    recorded_recipe(folder)
    entries = list(manifest.entries())
    width = max((len(entry.file) for entry in entries), default=0)
    damaged = []
    for entry in entries:
        wrong = damage(folder, entry)
        if entry is manifest.best and wrong and is_of_an_epoch(folder / entry.file, manifest):
            wrong, note = "", "whole, of a later epoch: the run was killed while it was written"
        else:
            note = f"damaged, {wrong}" if wrong else "whole"
        print(f"{entry.file:{width}}  epoch {entry.epoch}  step {entry.step}  {note}")
        if wrong:
            damaged.append(entry.file)
    if damaged:
        going_on = [state.file for state in manifest.states if state.file not in damaged]
        then = f"--resume_opt True goes on from {going_on[-1]}" if going_on else "there is no state to go on from"
        raise CheckpointError(f"{folder}: {len(damaged)} of {len(entries)} files are damaged; {then}")
    print(f"{folder}: all {len(entries)} files are whole")
