"""The order of the house: imports point downwards, files stay short, nothing names the machine it was written on."""

import ast
import re
import subprocess

import pytest
from repository import ROOT

PACKAGE = "mindcv_hrnet"

# From top to bottom, as in CONTRIBUTING.md: a room imports only rooms that stand below it
ROOMS = (
    *("cli", "jobs", "serving", "report", "engine", "deploy", "data", "recipe", "models", "weights", "runtime"),
    "errors",
)
# Inside these rooms the order holds as well, for files and folders
ORDER_INSIDE = {
    "data": (
        *(
            "splitting",
            "to_mindspore",
            "loader",
            "packing",
            "sampler",
            "augment",
            "outlines",
            "prefetch",
            "retry",
            "sources",
        ),
        *("transforms", "decode", "sheet", "rng"),
    ),
    "weights": ("pretrained", "hub", "manifest", "fit", "read", "write", "naming", "formats"),
}
# What users import: thin names for what lives in the rooms
PUBLIC = {"__main__", "config"}


def parts_of(path):
    """("data", "sampler") for mindcv_hrnet/data/sampler.py, ("cli",) for mindcv_hrnet/cli.py."""
    return path.relative_to(ROOT / PACKAGE).with_suffix("").parts


SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
MODULES = {part for path in SOURCES for part in [parts_of(path)]} | {parts_of(path)[:-1] for path in SOURCES}


def imported_modules(tree):
    """Modules of the package that a file imports, as tuples of names, also by `importlib` with a literal name."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        for name in names:
            package, *rest = name.split(".")
            while rest and tuple(rest) not in MODULES:
                rest.pop()
            if package == PACKAGE and rest:
                yield tuple(rest)


def imports():
    """(file, its parts, imported parts) of every import inside the package."""
    for path in SOURCES:
        for imported in sorted(set(imported_modules(ast.parse(path.read_text(encoding="utf-8"))))):
            yield path.relative_to(ROOT), parts_of(path), imported


def tracked_files():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_room_and_file_has_its_place():
    assert {parts[0] for parts in MODULES if parts} - {"__init__"} - PUBLIC == set(ROOMS)
    for room, order in ORDER_INSIDE.items():
        assert {parts[1] for parts in MODULES if parts[:1] == (room,) and len(parts) > 1} - {"__init__"} == set(order)


def test_every_file_stands_in_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    named = set(re.findall(r"\w+", text))
    assert {parts[-1] for parts in MODULES if parts and not parts[-1].startswith("__")} - named == set()


def test_every_room_says_what_it_is_for():
    for room in ROOMS:
        if (ROOT / PACKAGE / room).is_dir():
            text = ast.get_docstring(ast.parse((ROOT / PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
            assert text and "mports" in text, f"{room}/__init__.py says in a sentence what it is for and may import"


def test_no_two_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_rooms_import_downwards():
    violations = [
        f"{path}: {importer[0]} must not import {imported[0]}"
        for path, importer, imported in imports()
        if importer[0] in ROOMS and imported[0] in ROOMS and ROOMS.index(imported[0]) < ROOMS.index(importer[0])
    ]
    assert violations == []


def test_files_inside_a_room_import_downwards():
    violations = [
        f"{path}: {importer[1]} must not import {imported[1]}"
        for path, importer, imported in imports()
        for order in [ORDER_INSIDE.get(importer[0], ())]
        if importer[0] == imported[0] and len(imported) > 1 and importer[1] in order
        if order.index(imported[1]) < order.index(importer[1])
    ]
    assert violations == []


def test_the_reader_of_imports_sees_all_forms():
    code = (
        "import mindcv_hrnet.engine.losses\ndef f():\n    from mindcv_hrnet.runtime import files\n"
        "    g('mindcv_hrnet.cli')\nimport os"
    )
    assert set(imported_modules(ast.parse(code))) == {("engine", "losses"), ("runtime", "files"), ("cli",)}


@pytest.mark.parametrize("script", ["train.py", "validate.py", "export.py"])
def test_root_scripts_call_the_command_line_only(script):
    text = (ROOT / script).read_text(encoding="utf-8")
    assert set(imported_modules(ast.parse(text))) == {("cli",)}
    assert len(text.splitlines()) <= 12


def test_no_python_file_is_longer_than_400_lines():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_bytes().splitlines()) for path in tracked_files()}
    assert {name: lines for name, lines in lengths.items() if name.endswith(".py") and lines > 400} == {}


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    # Built of parts, or this file would be the first finding
    folder = re.compile(r"(?<![\w./])/(?:wo" r"rk|tmp/w|ro" r"ot|ho" r"me/\w+)(?:/|\b)(?!\w)")
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if folder.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []
