"""The page of options has every key as it is declared, tests that exist, and the difference of each image operation."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mindcv_hrnet.config import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/options.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \| `([^`]+)` \| `(\S+)::(\w+)` \|$", PAGE, re.M)
OPERATIONS = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|$", PAGE, re.M)


def test_every_key_has_its_row():
    declared = [item for section in SECTIONS.values() for item in fields(section)]
    expected = [(item.name, item.metadata["help"], repr(item.default)) for item in declared]
    assert [tuple(row[:3]) for row in ROWS] == expected


@pytest.mark.parametrize(("key", "path", "name"), [(row[0], *row[3:]) for row in ROWS])
def test_the_proof_is_there(key, path, name):
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text(), re.M)


def test_every_image_operation_is_within_a_level():
    from mindcv_hrnet.data.auto_augment import OPERATIONS as RANDAUG
    from mindcv_hrnet.data.policies import OTHER_OPERATIONS, WIDE

    assert {name for name, _, _ in OPERATIONS} == set(RANDAUG) | set(OTHER_OPERATIONS)
    assert {name for name, _, wide in OPERATIONS if wide != "-"} == set(WIDE)
    assert all(0 <= float(level) <= 1 for row in OPERATIONS for level in row[1:] if level != "-")
