"""The page of errors has every message of the code, and none that is gone."""

import ast
import re

import list_messages

PAGE = list_messages.PAGE.read_text(encoding="utf-8")


def test_the_table_is_that_of_the_code():
    assert list_messages.written(PAGE) == PAGE, "python scripts/list_messages.py --write writes the table anew"


def test_most_messages_have_their_cause():
    mends = list_messages.mends_of(PAGE)
    known = {message.text for message in list_messages.messages()}
    assert len(known) > 250
    assert sum(bool(mends.get(text)) for text in known) > 0.9 * len(known)


def test_notices_are_those_of_the_code():
    """Those in the table of what is no error: what stands between their `<...>` is in the package."""
    code = "".join(path.read_text(encoding="utf-8") for path in (list_messages.ROOT / "mindcv_hrnet").rglob("*.py"))
    notices = re.findall(r"^\| `(.*?)` \|", PAGE.partition("## What is not an error")[2].partition("\n## ")[0], re.M)
    assert len(notices) >= 4
    for notice in notices:
        fragments = re.split(r"<\w+>", notice.removesuffix(" ..."))
        assert len(fragments) > 1 and [part for part in fragments if part not in code] == []


def test_messages_of_each_kind_are_found():
    """As a literal, in a row of the rules, behind a constant, with a choice, and with two columns' separator in it."""
    reader = list_messages.Reader([ast.parse("LIMIT = 3\nADVICE = f'or {more}'")])
    source = """
raise DataError(f"{path}: more than {LIMIT} files; remove some, {ADVICE}")
raise Hopeless(f"{path.name}: {'full' if full else 'gone'}|{len(parts)}{nearest(name, names)}")
Rule(lambda r: r.lr, lambda r: f"lr is {r.lr:g}; lower lr")
raise ValueError("not for users")
class Hopeless(RunError): ...
"""
    path = list_messages.ROOT / "mindcv_hrnet/data/any.py"
    assert sorted(reader.of_file(path, ast.parse(source))) == [
        ("data", 3, "<path>: more than 3 files; remove some, or <more>"),
        ("data", 5, "<name>: full / gone\\|<n>"),
        ("recipe", 2, "<recipe>: lr is <lr>; lower lr"),
    ]


def test_what_a_message_means_stays_with_it():
    text = list_messages.messages()[0].text
    page = f"before {list_messages.table({text: 'because'})} after"
    assert list_messages.mends_of(page)[text] == "because"
    assert list_messages.written(page) == page
