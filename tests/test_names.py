"""Functions are named by what they do, and a module begins with one short sentence that says what it does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["lowq", "pytest_lowq", "conformance/lowq_conformance"]
LEFT_ALONE = ["conformance/lowq_conformance/queues"]  # queues of others, and such as imitate theirs

IRREGULAR = frozenset(
    "begun bound bought broken brought built caught chosen done drawn felt forgotten found frozen given gone grown "
    "heard held hidden kept known laid led left lent lost made meant met paid said seen sent shown sold spelt spent "
    "stood stuck sworn taken thought thrown told torn understood woken won worn written".split()
)
REGULAR_NOT = frozenset("bed embed exceed feed fed need proceed red seed shed speed succeed".split())
STATES = frozenset({"bool", "bool | None"})
"""What a function with a participle may answer: it asks whether something is so."""
AFTER = frozenset(
    "after again apart as at away before behind by for from in many now of once or since so to too until with".split()
)
"""What makes no thing of the participle before it: `held_by` is a state, `qualified_name` a name."""


def is_participle(word: str) -> bool:
    return word in IRREGULAR or (word.endswith("ed") and word not in REGULAR_NOT)


def is_riddle(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the name says a state, and the answer is none."""
    first, *more = function.name.strip("_").split("_")
    if not is_participle(first) or (more and more[0] not in AFTER):
        return False
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    if any(word in decorators for word in ("property", "setter", "fixture")):
        return False
    return function.returns is None or ast.unparse(function.returns) not in STATES


def riddles(source: str) -> list[str]:
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [f"{function.lineno}: {function.name}" for function in functions if is_riddle(function)]


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(path.is_relative_to(ROOT / each) for each in LEFT_ALONE):
                yield path


def test_functions_are_named_by_what_they_do() -> None:
    found = [f"{path.relative_to(ROOT)}:{riddle}" for path in files() for riddle in riddles(path.read_text())]

    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def told(run: Run) -> str: ...", ["1: told"]),
        ("def _held_by(task: Task) -> Lease: ...", ["1: _held_by"]),
        ("class A:\n    async def awaited(self) -> int: ...", ["2: awaited"]),
        ("def is_held(task: Task) -> bool: ...", []),
        ("def held(task: Task) -> bool: ...", []),
        ("def qualified_name(handler: Any) -> str: ...", []),
        ("@property\ndef held(self) -> Lease: ...", []),
        ("def tell(run: Run) -> str: ...", []),
        ("def feed(data: bytes) -> None: ...", []),
    ],
)
def test_a_participle_that_answers_neither_true_nor_false_is_found(source: str, found: list[str]) -> None:
    assert riddles(source) == found


SENTENCE = re.compile(r"(.+?\.)(?=\s|$)", re.DOTALL)
SHORT = 160
MARK = "PYTEST_DONT_REWRITE"


def poor_beginning(source: str) -> str:
    """What is wrong with the docstring of a module, or nothing."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    first, *more = docstring.split("\n\n")
    if (sentence := SENTENCE.match(first)) is None:
        return "no sentence" if docstring else "no docstring"
    if len(sentence[0]) > SHORT:
        return "too long"
    if MARK in docstring and not (more and MARK in more[-1]):
        return f"{MARK} is not last"
    return ""


def test_each_module_begins_with_a_short_sentence() -> None:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    poor = {path.relative_to(ROOT).as_posix(): poor_beginning(path.read_text(encoding="utf-8")) for path in paths}

    assert {path: wrong for path, wrong in poor.items() if wrong} == {}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("", "no docstring"),
        ('"""How a handler ends::"""', "no sentence"),
        (f'"""A queue {"in a file " * 20}."""', "too long"),
        ('"""Points of a call. PYTEST_DONT_REWRITE"""', "PYTEST_DONT_REWRITE is not last"),
        ('"""Points.\n\nPYTEST_DONT_REWRITE\n\nMore."""', "PYTEST_DONT_REWRITE is not last"),
        ('"""Points.\n\nMore.\n\nPYTEST_DONT_REWRITE\n"""', ""),
        ('"""Claims (see `lowq.claim`), at once."""', ""),
    ],
)
def test_a_poor_beginning_is_found(source: str, wrong: str) -> None:
    assert poor_beginning(source) == wrong
