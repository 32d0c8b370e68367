"""Functions are named by what they do; one that is named by a participle says whether something is so."""

from __future__ import annotations

import ast
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
