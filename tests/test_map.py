"""The map for who works inside names files and functions that are there, and every room; so do the words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "conformance" / "lowq_conformance"
PAGE = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
WORDS = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w./*<>-]+\.(?:py|md|jsonl)|[\w./]+/)`", PAGE + WORDS)))


@pytest.mark.parametrize("path", NAMED)
def test_what_the_map_names_is_there(path: str) -> None:
    pattern = path.replace("<group>", "*")

    found = [match for base in (ROOT, SUITE, ROOT / "lowq") for match in base.glob(pattern)]

    assert found != []


LISTED = r"`[\w.]+`(?: \([^()]*\))?"
NAMES_IN = re.compile(rf"({LISTED}(?:,? (?:and|or) {LISTED}|, {LISTED})*) in\s+`([\w./]+\.py)`")
NAME_OF = re.compile(r"`([\w.]+)` \(`([\w./]+\.py)`\)")
"""`name` in `file.py`, and `name` (`file.py`)."""


def named_in_files(page: str) -> set[tuple[str, str]]:
    """Each name of a function, class or constant with the file that the page says it is in."""
    pairs = set(NAME_OF.findall(page))
    for names, file in NAMES_IN.findall(page):
        bare = re.sub(r"\([^()]*\)", "", names)
        pairs |= {(name, file) for name in re.findall(r"`([\w.]+)`", bare)}
    return pairs


def defined(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def strangers(page: str) -> list[str]:
    """The names that are not in the file that the page says they are in."""
    found = []
    for name, file in sorted(named_in_files(page)):
        here = [base / file for base in (ROOT, SUITE) if (base / file).exists()]
        if not any(name.rpartition(".")[2] in defined(ast.parse(path.read_text(encoding="utf-8"))) for path in here):
            found.append(f"{name} in {file}")
    return found


def test_each_name_is_in_the_file_that_the_map_says() -> None:
    assert len(named_in_files(PAGE)) > 20
    assert strangers(PAGE + CONTRIBUTING) == []


def test_a_name_that_is_not_there_is_found() -> None:
    said = (
        "`order` in `checker/attribution.py`, `gives` (why, and how) or `takes_all` in\n"
        "`cases/expect.py`, `Gone` (`lowq/run.py`)"
    )

    assert strangers(said) == [
        "Gone in lowq/run.py",
        "order in checker/attribution.py",
        "takes_all in cases/expect.py",
    ]


def rooms_in_order() -> dict[str, int]:
    """The rooms of the list of import order, as the map spells them, each with the number of its line."""
    assigned = {
        target.id: node.value
        for node in ast.parse((ROOT / "tests" / "test_rooms.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name) and node.value is not None
    }
    order: tuple[tuple[str, ...], ...] = ast.literal_eval(assigned["ORDER"])
    names = {name: line for line, row in enumerate(order) for name in row}
    parts = {"lowq": ROOT, "lowq_conformance": ROOT / "conformance", "pytest_lowq": ROOT}

    def spell(name: str) -> str:
        is_folder = (parts[name.partition(".")[0]] / name.replace(".", "/")).is_dir()
        return name.rpartition(".")[2] + ("/" if is_folder else ".py")

    return {spell(name): line for name, line in names.items()}


def test_the_map_names_the_rooms_in_their_import_order() -> None:
    listed = PAGE[PAGE.index("Arrows go one way") : PAGE.index("## The way of one `lowq check`")]
    rooms = rooms_in_order()

    shown = {room: at for room in rooms if (at := listed.find(f"`{room}`")) >= 0}

    assert rooms.keys() - shown.keys() == set()
    assert [rooms[room] for room in sorted(shown, key=shown.__getitem__)] == sorted(rooms.values())


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
