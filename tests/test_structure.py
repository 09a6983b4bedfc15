"""The order of the house: imports point downwards, files stay short, nothing names the machine it was written on."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mindcv_hrnet"

# From bottom to top. A module may import what stands above it in this list, never a sibling in its own row
LAYERS = (
    {"errors", "runtime"},
    {"options", "files", "parts"},
    {"sections", "old_keys"},
    {"config", "downloads"},
    {"cluster", "update_rules"},
    {"models", "data", "preprocess", "loss", "scheduler", "optimizer", "metrics", "weights", "progress"},
    {"train_step", "checkpoint", "evaluator", "mindir"},
    {"callbacks", "published"},
    {"training", "evaluation", "exporting", "prediction", "converting"},
    {"preview"},
    {"cli"},
    {"__main__"},
)
# (importer, imported): why it may
EXCEPTIONS = {("models", "weights"): "create_model(checkpoint=...) reads weights, imported where it does"}


def unit_of(path):
    """`data` for mindcv_hrnet/data/sampler.py, `loss` for mindcv_hrnet/loss.py."""
    return path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")


SOURCES = sorted(path for path in (ROOT / PACKAGE).rglob("*.py") if unit_of(path) != "__init__")
UNITS = {unit_of(path) for path in SOURCES}
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}


def imported_units(tree):
    """Units of the package that a file imports, anywhere in it, also by `importlib` with a literal name."""
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
            package, _, rest = name.partition(".")
            if package == PACKAGE and rest.split(".")[0] in UNITS:
                yield rest.split(".")[0]


def imports():
    """(file, importing unit, imported unit) of every import that crosses units."""
    for path in SOURCES:
        for imported in sorted(set(imported_units(ast.parse(path.read_text(encoding="utf-8"))))):
            if imported != unit_of(path):
                yield path.relative_to(ROOT), unit_of(path), imported


def tracked_files():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_module_has_its_place():
    assert set(RANK) == UNITS, "put each module of the package in its row of LAYERS"
    assert sum(map(len, LAYERS)) == len(RANK)


def test_imports_point_downwards():
    violations = [
        f"{path}: {importer} must not import {imported}"
        for path, importer, imported in imports()
        if RANK[imported] >= RANK[importer] and (importer, imported) not in EXCEPTIONS
    ]
    assert violations == []


def test_exceptions_are_in_use():
    assert set(EXCEPTIONS) <= {(importer, imported) for _, importer, imported in imports()}


def test_the_reader_of_imports_sees_all_forms():
    code = (
        "import mindcv_hrnet.loss\ndef f():\n    from mindcv_hrnet import files\n    g('mindcv_hrnet.cli')\nimport os"
    )
    assert set(imported_units(ast.parse(code))) == {"loss", "files", "cli"}


@pytest.mark.parametrize("script", ["train.py", "validate.py", "export.py"])
def test_root_scripts_call_the_command_line_only(script):
    text = (ROOT / script).read_text(encoding="utf-8")
    assert set(imported_units(ast.parse(text))) == {"cli"}
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
