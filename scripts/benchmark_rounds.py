"""What benchmark.py and benchmark_data.py share: packages, a file written after each round, an end in one line."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEERS = ("mindcv", "timm")


def packages_of(o: argparse.Namespace) -> list[str]:
    """Ours and the peers, each once."""
    return list(dict.fromkeys(["ours", *filter(None, o.peers.split(","))]))


def pythons_of(o: argparse.Namespace) -> dict[str, str]:
    """{package: interpreter of its environment}."""
    return {"ours": sys.executable, "mindcv": o.mindcv_python, "timm": o.timm_python}


class BenchmarkError(Exception):
    """A measurement that failed, in one line, and the end of what its process said."""

    def __init__(self, problem: str, said: str = ""):
        super().__init__(problem)
        self.said = said.strip()[-800:]


class Rounds:
    """The JSON file of a benchmark: whole after each round, so that what ends a later one costs that round alone."""

    def __init__(self, out: Path, wanted: int):
        self.out, self.wanted, self.done = out, wanted, 0

    def keep(self, found: dict[str, Any]) -> None:
        """Write everything measured so far, with the round that has just ended."""
        from mindcv_hrnet.runtime.files import write_json

        write_json(self.out, found)
        self.done += 1

    @contextmanager
    def one_line_end(self) -> Iterator[None]:
        """Whatever goes wrong ends the script with one line, which says where the rounds before it are."""
        from mindcv_hrnet.errors import UserError

        try:
            yield
        except (BenchmarkError, UserError, OSError, KeyboardInterrupt) as error:
            if isinstance(error, BenchmarkError) and error.said:
                print(error.said, file=sys.stderr)
            kept = f"; {self.out} holds what was measured before: {self.done} of {self.wanted} rounds"
            sys.exit(f"error: {str(error) or 'interrupted'}{kept if self.done else ''}")


def not_writable(out: Path) -> str:
    """Why nothing can be written to `--out`, in one line; "" if it can."""
    if out.is_dir():
        return f"--out: {out} is a folder; name a file in it"
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            return ""
    except OSError as error:
        return f"--out: {out.parent}: {error.strerror}; choose a folder that can be written"


def wrong_number(o: argparse.Namespace, names: tuple[str, ...]) -> str:
    """Which of these options is not above 0, or more workers than MindCV starts, in one line; "" if none."""
    for name in names:
        if getattr(o, name) <= 0:
            return f"--{name.replace('_', '-')}: {getattr(o, name)} is not above 0"
    cores = os.cpu_count() or 1
    if "mindcv" in packages_of(o) and o.workers > cores:
        return f"--workers: {o.workers} are more than the {cores} cores here, and MindCV refuses that"
    return ""
