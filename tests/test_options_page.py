"""The page of options names every key, and tests that exist."""

import re
from pathlib import Path

from mindcv_hrnet.config import option_names

ROOT = Path(__file__).resolve().parent.parent
ROWS = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \|$", (ROOT / "docs/options.md").read_text(), re.M)


def test_every_key_has_its_row():
    assert [key for key, _ in ROWS] == option_names()


def test_the_proofs_are_there():
    for key, proof in ROWS:
        if proof not in ("-", "*refused*"):
            path, _, name = proof.strip("`").partition("::")
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(), key
