"""What else the pages say, beside commands: numbers, links, and Python that has all it names."""

import ast
import importlib
import re
import subprocess

import pytest
from repository import ROOT

from mindcv_hrnet import describe, list_models

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "configs/hrnet/README.md", *(ROOT / "docs").glob("*.md")]
# a block that a file has in full: `<!-- excerpt of FILE -->` stands in front of it
PYTHON = re.compile(r"(?:^<!-- excerpt of (\S+) -->\n\s*)?^```python\n(.*?)^```$", re.M | re.S)


def test_the_first_screen_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_links_of_pages_that_are_not_on_the_site():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_has_all_its_names(page):
    """Each block compiles by itself, and imports what it uses; what an excerpt defines is in its file."""
    for source, text in PYTHON.findall(page.read_text(encoding="utf-8")):
        compile(text, page.name, "exec")
        if source:
            whole = (ROOT / source).read_text(encoding="utf-8")
            assert all(f"{start}(" in whole for start in re.findall(r"(?:class|def) \w+", text)), page.name
            continue
        ruff = ["ruff", "check", "--isolated", "--select", "F821", "--quiet", "-"]
        done = subprocess.run(ruff, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_names_what_is_there(page):
    """What blocks import of this package, and take from its top, exists."""
    for _, text in PYTHON.findall(page.read_text(encoding="utf-8")):
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.ImportFrom) and statement.module.startswith("mindcv_hrnet"):
                module = importlib.import_module(statement.module)
                assert all(hasattr(module, each.name) for each in statement.names)
        for name in re.findall(r"(?<!import )\bmindcv_hrnet\.([\w.]+)\(", text):
            home, _, last = f"mindcv_hrnet.{name}".rpartition(".")
            assert hasattr(importlib.import_module(home), last), name


@pytest.mark.parametrize("page", ["README.md", "docs/imagenet.md", "configs/hrnet/README.md"])
def test_published_numbers(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in list_models(pretrained=True):
        about = describe(name)
        (row,) = (line for line in text.splitlines() if f"{name}_ascend" in line and f"| {about.top1:.2f} |" in line)
        assert f"| {about.top1:.2f} | {about.top5:.2f} |" in row
