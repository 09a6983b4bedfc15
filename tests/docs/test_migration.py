"""The pages for those who come from elsewhere name every key as it is there and as it is here."""

import csv
import re
from dataclasses import fields

from repository import ROOT

from mindcv_hrnet.recipe.config import SECTIONS
from mindcv_hrnet.recipe.migrate import ELSEWHERE, RENAMED, RENAMED_VALUES, SWITCHES, old_names

MINDCV = (ROOT / "docs/from_mindcv.md").read_text(encoding="utf-8")
TIMM = (ROOT / "docs/from_timm.md").read_text(encoding="utf-8")
# Every option of MindCV 0.3's command line with its default, in its order
THEIRS = ROOT / "tests/data/mindcv_options.tsv"
DEFAULTS = {item.name: item.default for section in SECTIONS.values() for item in fields(section)}
KEY_ROW = re.compile(r"^\| `(\w+)` \| `([^`]*)` \| `([^`]*)` \| (.*) \|$", re.MULTILINE)


def value_of(text):
    """A cell's value, so that `[0.08, 1.0]` and `(0.08, 1.0)` are one."""
    return text.strip("'").replace("(", "[").replace(")", "]")


def test_each_key_of_mindcv_stands_beside_ours():
    with THEIRS.open(encoding="utf-8") as file:
        theirs = [
            (row["key"], row["default"].replace("57.120000000000005", "57.12"))
            for row in csv.DictReader(file, delimiter="\t")
        ]
    rows = KEY_ROW.findall(MINDCV)
    assert [(key, default) for key, default, _, _ in rows] == theirs
    assert {key: here for key, _, here, _ in rows} == {key: repr(DEFAULTS[key]) for key, _ in theirs}


def test_another_default_is_explained():
    differing = {key: note for key, theirs, here, note in KEY_ROW.findall(MINDCV) if value_of(theirs) != value_of(here)}
    assert set(differing) == {"distribute", "device_target", "model", "eps", "drop_overflow_update"}
    assert all(note.strip() for note in differing.values())


def test_each_old_key_is_told():
    part = MINDCV.split("## Old keys")[1]
    assert set(re.findall(r"^\| `(\w+)", part, re.MULTILINE)) == {*old_names(), *(key for key, _ in RENAMED_VALUES)}
    for old, new in RENAMED.items():
        assert f"| `{old}` | `{new}` |" in part
    for old, (new, yes, no) in SWITCHES.items():
        assert f"| `{old}: True`, `False` | `{new}: {yes}`, `{no}` |" in part
    for (key, old), new in RENAMED_VALUES.items():
        assert f"| `{key}: {old}` | `{key}: {new}` |" in part


def test_keys_of_timm_become_keys_that_exist():
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| .*\|$", TIMM.split("## Keys")[1].split("## Weights")[0], re.MULTILINE)
    assert len(rows) > 40
    for theirs, ours in rows:
        keys = re.findall(r"`(\w+)`", theirs if ours == "the same" else ours)
        assert keys and set(keys) <= set(DEFAULTS), (theirs, ours)
        for name in re.findall(r"`(\w+)`", theirs):
            assert ELSEWHERE.get(name, keys[0]) in keys, name
