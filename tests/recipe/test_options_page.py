"""The page of options has every key as declared and tests that exist; that of verification each image operation.

`python tests/recipe/test_options_page.py` writes what is declared into the rows; a new key needs a row with a
proof.
"""

import re
from dataclasses import fields

import pytest
from repository import ROOT

from mindcv_hrnet.recipe.config import SECTIONS
from mindcv_hrnet.recipe.schema import accepts, annotations, type_name

FILE = ROOT / "docs/options.md"
PAGE = FILE.read_text()
ROW = re.compile(r"^\| `(\w+)` \| .* \| `(\S+)::(\w+)` \|$", re.M)
POLICY = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \| .* \| .* \|$", re.M)
OPERATIONS = re.findall(
    r"^\| `(\w+)` \| (\S+) \| (\S+) \|$", (ROOT / "docs/verification.md").read_text(encoding="utf-8"), re.M
)


def declared():
    """The first four cells of each key's row, in the order of the page."""
    for section in SECTIONS.values():
        kinds = annotations(section)
        for item in fields(section):
            limits = accepts(item)
            accepted = type_name(kinds[item.name]) + (f"; {limits}" if limits else "")
            yield item.name, f"| `{item.name}` | {item.metadata['help']} | {accepted} | `{item.default!r}` |"


def renewed(page):
    """The page with the rows of its keys as they are declared; their proofs stay."""
    cells = dict(declared())
    return ROW.sub(lambda row: f"{cells[row[1]]} `{row[2]}::{row[3]}` |" if row[1] in cells else row[0], page)


def test_every_key_has_its_row():
    assert [row[1] for row in ROW.finditer(PAGE)] == [key for key, _ in declared()]


def test_limits_are_shown_to_the_last_digit():
    assert "| int; must be >= 0 and < 2147483648 |" in dict(declared())["seed"]


def test_rows_are_as_declared():
    rows = [row[0] for row in ROW.finditer(PAGE)]
    expected = [row[0] for row in ROW.finditer(renewed(PAGE))]
    differing = [new for old, new in zip(rows, expected, strict=True) if old != new]
    assert not differing, "\n".join(("python tests/recipe/test_options_page.py writes", *differing))


@pytest.mark.parametrize(("key", "path", "name"), ROW.findall(PAGE))
def test_the_proof_is_there(key, path, name):
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text(), re.M)


def test_every_image_operation_is_within_a_level():
    from mindcv_hrnet.data.augment.operations import OPERATIONS as LEVELLED
    from mindcv_hrnet.data.augment.trivialaugment import WIDE

    assert {name for name, _, _ in OPERATIONS} == set(LEVELLED)
    assert {name for name, _, wide in OPERATIONS if wide != "-"} == set(WIDE)
    assert all(0 <= float(level) <= 1 for row in OPERATIONS for level in row[1:] if level != "-")


def test_every_setting_of_every_policy_has_its_row():
    from mindcv_hrnet.data.augment.policies import POLICIES

    # said in words: no table of weights unless asked for, a depth drawn anew
    worded = {("randaug", "w"): "none", ("augmix", "d"): "1 to 3, drawn for each chain"}
    expected = [
        (policy, setting, worded.get((policy, setting), str(default)))
        for policy, kind in POLICIES.items()
        for setting, default in kind.defaults.items()  # canonical, which all have, has a table of its own
    ]
    found = [(policy, setting, default) for policy, setting, default in POLICY.findall(PAGE)]
    assert sorted(found) == sorted((p, s, re.sub(r"\.0$", "", default)) for p, s, default in expected)


if __name__ == "__main__":
    FILE.write_text(renewed(PAGE))
