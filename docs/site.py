"""Pages link to files of the repository, as they do where it is browsed; the site has copies in `source/`."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
COPIES = "source/"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The files that pages name in the navigation or in a link are part of the site, and what those link to."""
    named = [line.split(COPIES, 1)[1] for line in (ROOT / "mkdocs.yml").read_text().splitlines() if COPIES in line]
    pages = [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")]
    found = [*named, *(path for page in pages for path in _linked(page))]
    copied = set()
    while found:
        path = found.pop()
        if path.startswith("docs/") or path in copied:
            continue
        copied.add(path)
        files.append(File.generated(config, _site_path(path), content=_text(path)))
        found += _linked(path)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Links lead to the same files within the site."""
    here = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        there = _site_path(_resolved(_repository_path(here), link[1]))
        return f"]({relpath(there, dirname(here) or '.')}"

    return LINK.sub(moved, markdown)


def _linked(path: str) -> list[str]:
    """The files that a page of the repository links to."""
    if not path.endswith(".md"):
        return []
    return [_resolved(path, target) for target in LINK.findall((ROOT / path).read_text(encoding="utf-8"))]


def _resolved(page: str, target: str) -> str:
    return normpath(join(dirname(page), target))


def _site_path(path: str) -> str:
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{COPIES}{path}/index.md" if (ROOT / path).is_dir() else f"{COPIES}{path}"


def _repository_path(site_path: str) -> str:
    return site_path.removeprefix(COPIES) if site_path.startswith(COPIES) else f"docs/{site_path}"


def _text(path: str) -> str:
    """What the file says; of a folder, what is in it. A link to nothing fails here, with its path."""
    place = ROOT / path
    if not place.is_dir():
        return place.read_text(encoding="utf-8")
    names = sorted(each.name for each in place.iterdir() if not each.name.startswith(("__pycache__", ".")))
    return "\n".join([f"# {path}", "", *(f"- `{name}`" for name in names), ""])
