"""The pages as a site: each link and anchor leads somewhere, each page is in the menu, all comes from one place."""

import re

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from repository import ROOT

# What a browser fetches by itself when it opens a page
FETCHED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
OUTSIDE_STYLE = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site; the build fails on each warning."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    assert {page.name: found for page in pages if (found := FETCHED.findall(page.read_text(encoding="utf-8")))} == {}
    styles = sorted(site.rglob("*.css"))
    assert styles
    assert [url for style in styles for url in OUTSIDE_STYLE.findall(style.read_text(encoding="utf-8"))] == []


def test_what_would_be_fetched_is_found():
    assert FETCHED.findall('<link rel="x" href="https://fonts.example/a.css">') == ["https://fonts.example/a.css"]
    assert FETCHED.findall("<script defer src=//cdn.example/a.js>") == ["//cdn.example/a.js"]
    assert OUTSIDE_STYLE.findall("@import url(https://fonts.example/b)") == ["https://fonts.example/b"]


def test_files_of_the_checkout_come_along(site):
    recipe = (ROOT / "configs/hrnet/hrnet_w32_ascend.yaml").read_bytes()
    assert (site / "files/configs/hrnet/hrnet_w32_ascend.yaml").read_bytes() == recipe
    assert "files/configs/hrnet/hrnet_w32_ascend.yaml" in (site / "models.html").read_text(encoding="utf-8")


def test_public_names_are_in_the_reference(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("create_model", "list_models", "describe", "load_classifier", "read_weights", "write_weights", "push"):
        assert re.search(rf'<h3 id="[\w.]+\.{name}"', text), name
