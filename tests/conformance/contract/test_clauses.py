"""The registry of clauses, what tells of it, and the tests that stand for it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import lowq_conformance
import pytest
from lowq_conformance.contract.clauses import CLAUSES, UnknownClause, needs_of, select
from lowq_conformance.contract.promises import PROMISES, TRAITS

SUITE = Path(lowq_conformance.__file__).parent
README = SUITE.parent / "README.md"

NUMBERS = {
    "DELIVER": 13,
    "DEDUPE": 12,
    "ORDER": 11,
    "DUE": 9,
    "LEASE": 13,
    "RELEASE": 3,
    "DEAD": 3,
    "CANCEL": 3,
    "BATCH": 2,
    "HEADERS": 3,
    "WAIT": 6,
    "RACE": 7,
    "KEEP": 1,
    "CRASH": 7,
    "TX": 4,
    "INTERRUPT": 3,
    "CLOSE": 3,
    "INPUT": 4,
    "NAMES": 2,
    "WORKER": 15,
}


def marked(kind: str) -> set[str]:
    """The clauses that the suite's tests are marked with."""
    found = set()
    for file in SUITE.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{kind}":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {str(id) for id in found}


def test_every_clause_is_registered_under_its_number() -> None:
    assert list(CLAUSES) == [f"{group}-{number}" for group, last in NUMBERS.items() for number in range(1, last + 1)]


def test_the_clauses_that_are_checked_are_those_that_have_tests() -> None:
    assert marked("clause") == {id for id, clause in CLAUSES.items() if clause.checked}


def test_the_readme_tells_of_every_clause_as_the_registry_does() -> None:
    told = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("- **")]

    assert told == [
        f"- **{id}** {clause.text}."
        + (f" [{needs_of(clause)}]" if clause.needs else "")
        + ("" if clause.checked else " *Not checked yet.*")
        for id, clause in CLAUSES.items()
    ]


def test_the_readme_tells_of_every_promise_and_trait() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8"), flags=re.M)

    assert rows == [*PROMISES, *TRAITS]


def test_groups_and_clauses_are_selected_by_name() -> None:
    assert select(["DEAD,ORDER-3", "release-1"]) == ("ORDER-3", "RELEASE-1", "DEAD-1", "DEAD-2", "DEAD-3")
    assert select([]) == tuple(CLAUSES)
    with pytest.raises(UnknownClause, match="there is no clause DEAD-4"):
        select(["DEAD-4"])
