"""HTML from texts of strangers: nothing of theirs becomes markup, and what is very long is cut with a note."""

from __future__ import annotations

from html import escape

from lowq_conformance.support.text import excerpt, printable

LONGEST = 20_000
"""Characters of one text that a page shows."""


def text(told: object, longest: int = LONGEST) -> str:
    """The text as HTML, also for an attribute within double quotes."""
    return escape(printable(excerpt(str(told), longest)), quote=True)


def element(name: str, /, *inside: str, **attributes: str | None) -> str:
    """An element around HTML. An attribute's value is text, its name's `_` is `-`, and None leaves it out."""
    words = [f' {word.strip("_").replace("_", "-")}="{text(value)}"' for word, value in attributes.items() if value]
    return f"<{name}{''.join(words)}>{''.join(inside)}</{name}>"


def document(title: str, style: str, body: str) -> str:
    """A whole page that needs nothing beside itself, and no script."""
    head = f"""<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title, 200)}</title>
<style>{style}</style>"""
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
