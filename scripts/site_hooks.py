"""What mkdocs asks while it builds the site: pages outside docs/, and the files of the checkout that pages link to.

A page's links are those of the checkout, so that they work there as well; here they are turned to the site's copies.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# page of the checkout: its name on the site
ELSEWHERE = {
    "configs/hrnet/README.md": "models.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
HOME = {name: path for path, name in ELSEWHERE.items()}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of `ELSEWHERE`, and every file outside docs/ that a page names."""
    for path, name in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for page in files.documentation_pages():
        source = _source(page.src_uri)
        for link in LINK.findall((ROOT / source).read_text(encoding="utf-8")):
            target = _on_site(link, source)
            if target.startswith("files/") and target not in files.src_uris:
                path = target.removeprefix("files/")
                files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to where the site has their targets."""
    return LINK.sub(lambda found: _on_site(found[0], _source(page.file.src_uri)), markdown)


def _source(name: str) -> str:
    """Path in the checkout of the page called `name` on the site."""
    return HOME.get(name, f"docs/{name}")


def _on_site(link: str, source: str) -> str:
    """A link of the page at `source`, both in the checkout, as it is on the site; all pages lie in one folder there."""
    target, mark, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in ELSEWHERE:
        path = ELSEWHERE[path]
    elif path.startswith("docs/"):
        path = path.removeprefix("docs/")
    elif (ROOT / path).is_file():
        path = f"files/{path}"
    else:
        path = target  # mkdocs names it as broken
    return path + mark + anchor
