"""The map for who works inside names files that are there, and every room; so do the words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "conformance" / "lowq_conformance"
PAGE = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
WORDS = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w./*<>-]+\.(?:py|md|jsonl)|[\w./]+/)`", PAGE + WORDS)))


@pytest.mark.parametrize("path", NAMED)
def test_what_the_map_names_is_there(path: str) -> None:
    pattern = path.replace("<group>", "*")

    found = [match for base in (ROOT, SUITE, ROOT / "lowq") for match in base.glob(pattern)]

    assert found != []


ROOMS = {
    folder.name
    for base in (ROOT / "lowq", SUITE)
    for folder in base.iterdir()
    if folder.is_dir() and (folder / "__init__.py").exists()
}


def test_the_map_names_every_room() -> None:
    assert {room for room in ROOMS if f"{room}/" not in PAGE} <= {"contrib"}


def test_the_picture_shows_every_room() -> None:
    shown = set(re.findall(r"\w+", (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")))

    assert ROOMS - shown == set()
