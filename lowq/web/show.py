"""How pages show works, times and texts; what is shown is escaped by the templates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from lowq.backend import Damaged, Work
from lowq.rules.canonical import encode

LINE = 160
"""Characters of a work or reason in a list."""

WHOLE = 200_000
"""Characters of a work on its own page."""


def show_work(work: Work, longest: int = WHOLE) -> str:
    """The work as indented JSON, cut where it is longer than `longest`."""
    text = _show_damaged(work) if isinstance(work, Damaged) else json.dumps(work, ensure_ascii=False, indent=2)
    text = visible(text, lines=True)
    return text if len(text) <= longest else f"{text[:longest]}\n… and {len(text) - longest:,} characters more"


def one_line(work: Work) -> str:
    """The work on one line, cut."""
    return _cut(visible(whole_line(work)))


def whole_line(work: Work) -> str:
    """The work as canonical JSON."""
    return _show_damaged(work) if isinstance(work, Damaged) else encode(work)


def last_line(text: str) -> str:
    """The last line of a traceback, which says what happened."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _cut(visible(lines[-1].strip())) if lines else ""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with control characters, and those that turn the reading direction, shown by their escapes."""
    return "".join(
        char
        if char.isprintable() or char == " " or (lines and char in "\n\t")
        else char.encode("unicode_escape").decode()
        for char in text
    )


def iso(instant: datetime) -> str:
    """The instant in ISO 8601, in UTC."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def clock(instant: datetime) -> str:
    """The instant for people, to the second."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def distance(instant: datetime, now: datetime) -> str:
    """How far away the instant is: ``in 5 min``, ``3 h ago``."""
    gap = abs(instant - now)
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if gap >= length:
            return f"in {gap // length} {unit}" if instant > now else f"{gap // length} {unit} ago"
    return f"in {gap.seconds} s" if instant > now else f"{gap.seconds} s ago"


def _show_damaged(work: Damaged) -> str:
    return f"(no JSON, and so never run) {work.text}"


def _cut(text: str) -> str:
    return text if len(text) <= LINE else f"{text[: LINE - 1]}…"
