"""Lists every error message that a user can mend, as the code has it, and writes the table of docs/troubleshooting.md.

    python scripts/list_messages.py            prints the table
    python scripts/list_messages.py --write    writes it anew; what stands in its last column stays with its message

A message is the text of a `UserError` (or one of its kinds), of a row of `recipe.rules`, or behind "error: " in the
command line, with `<name>` for what is filled in there.
"""

import argparse
import ast
import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mindcv_hrnet import errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/troubleshooting.md"
BEGIN, END = "<!-- messages: written by scripts/list_messages.py -->", "<!-- end of messages -->"
KINDS = {
    name: kind.exit_code
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.UserError)
}
# where a message comes from: the heading that it stands under, from what a user does first to what comes last
AREAS = {
    "cli": "Program",
    "recipe": "Recipe and command line",
    "models": "Network",
    "data": "Data set",
    "weights": "Weights",
    "runtime": "Machine, disk and network",
    "engine": "Training, validation, resuming",
    "jobs": "Commands",
    "report": "Report",
    "deploy": "Exported files",
    "serving": "Server",
    "scripts": "Scripts",
}
HINTS = ("nearest", "meant_by")  # their " (nearest: 'x')" is there where something is close
ROW = re.compile(r"^\| `(?P<message>.*)` \| (?P<code>\d) \| (?P<mend>.*) \|$", re.MULTILINE)


class Message(NamedTuple):
    """Where it comes from, the exit code, and the text as the page has it."""

    area: str
    exit_code: int
    text: str


@functools.cache
def messages() -> list[Message]:
    """Each once, in the order of the page."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}
    reader = Reader(trees.values())
    found = {message for path, tree in trees.items() for message in reader.of_file(path, tree)}
    return sorted(found, key=lambda message: (list(AREAS).index(message.area), message.text.lower(), message.exit_code))


def table(mends: dict[str, str]) -> str:
    """The page's part between its marks; `mends` has the last column by message."""
    lines = []
    for area, title in AREAS.items():
        lines += ["", f"### {title}", "", "| message | exit code | cause, and what to do |", "|---|---|---|"]
        for message in messages():
            if message.area == area:
                lines.append(f"| `{message.text}` | {message.exit_code} | {mends.get(message.text, '')} |")
    return "\n".join((BEGIN, *lines, "", END))


def mends_of(page: str) -> dict[str, str]:
    """What the page says of each message."""
    return {row["message"]: row["mend"].strip() for row in ROW.finditer(page)}


def written(page: str) -> str:
    """The page with its table as it should be."""
    before, rest = page.split(BEGIN)
    return before + table(mends_of(page)) + rest.split(END)[1]


def _sources() -> Iterator[Path]:
    for folder in ("mindcv_hrnet", "scripts"):
        yield from sorted((ROOT / folder).rglob("*.py"))


class Reader:
    """Turns expressions into texts; knows what the modules' constants hold."""

    def __init__(self, trees: Iterable[ast.Module]):
        values: dict[str, dict[str, ast.expr]] = {}
        for statement in (statement for tree in trees for statement in tree.body):
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() | ast.JoinedStr() as value) if (
                    name.isupper()
                ):
                    values.setdefault(name, {})[ast.dump(value)] = value
        # a name that modules give different values says nothing
        self.constants = {name: value for name, found in values.items() if len(found) == 1 for value in found.values()}

    def of_file(self, path: Path, tree: ast.Module) -> Iterator[Message]:
        parts = path.relative_to(ROOT).parts
        area = parts[0] if parts[0] == "scripts" else Path(parts[1]).stem
        own = {
            node.name: KINDS[base.id]
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name) and base.id in KINDS
        }
        for node in ast.walk(tree):
            if area == "cli" and isinstance(node, ast.Assign):
                text = self.text(node.value)
                if text.startswith("error: "):
                    yield Message(area, KINDS["ConfigError"], text.removeprefix("error: "))
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            code = {**KINDS, **own}.get(node.func.id)
            if code is not None and node.args and self.text(node.args[0]) != "<message>":
                yield Message(area, code, self.text(node.args[0]))
            elif node.func.id == "Rule":
                spoken = node.args[1]
                assert isinstance(spoken, ast.Lambda)
                yield Message("recipe", KINDS["ConfigError"], "<recipe>: " + self.text(spoken.body))

    def text(self, node: ast.expr) -> str:
        """The message that an expression makes, fit for a cell of a table."""
        text = re.sub(r"\s+", " ", self.spoken(node)).strip()
        text = re.sub(r"{(\w+)}", r"<\1>", text)
        return text.replace("`", "'").replace("|", "\\|")

    def spoken(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=value):
                return str(value)
            case ast.JoinedStr(values=parts):
                return "".join(map(self.spoken, parts))
            case ast.FormattedValue(value=value):
                return self.spoken(value)
            case ast.BinOp(left=left, op=ast.Add(), right=ast.Constant(value=int())):  # counted from 1
                return self.spoken(left)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.spoken(left) + self.spoken(right)
            case ast.IfExp(body=body, orelse=orelse):
                first, second = self.spoken(body), self.spoken(orelse)
                return f"{first} / {second}" if first and second else f"[{first or second}]"
            case ast.BoolOp(values=values):
                return " / ".join(map(self.spoken, values))
            case ast.Name(id=name) if name in self.constants:
                return self.spoken(self.constants[name])
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return f"<{name.strip('_').lower()}>"
            case ast.Subscript(value=value):
                return self.spoken(value)
            case ast.Call(func=ast.Name(id=name)) if name in HINTS:
                return ""
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(pattern)), attr="format")):
                return re.sub(r"{[^}]*}", "<...>", pattern)
            case ast.Call(func=ast.Name(id="reason_of")):
                return "<reason>"
            case ast.Call(func=ast.Name(id="len")):
                return "<n>"
            case ast.Call(args=[first, *_]) if isinstance(first, ast.Name | ast.Attribute):
                return self.spoken(first)
            case _:
                return "<...>"


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(
        description="Every error message that a user can mend, for docs/troubleshooting.md."
    )
    parser.add_argument("--write", action="store_true", help="write the table of the page anew")
    page = PAGE.read_text(encoding="utf-8")
    if parser.parse_args().write:
        PAGE.write_text(written(page), encoding="utf-8")
    else:
        print(table(mends_of(page)))


if __name__ == "__main__":
    main()
