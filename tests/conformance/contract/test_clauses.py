"""The registry of clauses, what tells of it, and the tests that stand for it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import lowq_conformance
import pytest
from click.testing import CliRunner
from lowq_conformance.contract.clauses import CLAUSES, VERSIONS, UnknownClause, needs_of, select, since
from lowq_conformance.contract.promises import PROMISES, TRAITS, Traits
from lowq_conformance.report.clause_set import describe_clauses
from lowq_conformance.run.command import check as command

SUITE = Path(lowq_conformance.__file__).parent
README = SUITE.parent / "README.md"
DATA = SUITE.parent / "clauses.json"

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
    "RACE": 9,
    "KEEP": 1,
    "CRASH": 7,
    "TX": 4,
    "INTERRUPT": 3,
    "SERVER": 8,
    "CLOSE": 3,
    "INPUT": 5,
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


def test_the_clauses_as_data_are_those_of_the_registry_and_of_the_readme() -> None:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    stated = re.findall(r"^- \*\*(\S+)\*\* (.*?)\.(?: \[|$| \*Not)", README.read_text(encoding="utf-8"), flags=re.M)
    titles = dict(re.findall(r"^### ([A-Z]+): (.*)$", README.read_text(encoding="utf-8"), flags=re.M))

    assert data == describe_clauses(), "write it anew: lowq check --clauses --json conformance/clauses.json"
    assert [(clause["id"], clause["meaning"]) for clause in data["clauses"]] == stated
    for clause in data["clauses"]:
        assert clause["title"].casefold() == titles[clause["id"].partition("-")[0]].casefold()
        assert CLAUSES[clause["id"]].checked == (clause["profile"] is not None)


def test_a_version_of_the_set_has_every_clause_and_what_was_in_one_stays() -> None:
    assert {id: since(id) for id in CLAUSES}.keys() == CLAUSES.keys()
    last = {group: number for version in VERSIONS.values() for group, number in version.items()}
    assert last == NUMBERS, "a new clause begins a new version, or is in the newest one until that is released"
    assert [since(id) for id in ("DELIVER-10", "DELIVER-11", "WORKER-7", "WAIT-1")] == [1, 2, 1, 2]
    assert sum(since(id) == 1 for id in CLAUSES) == 97


def test_what_a_clause_needs_is_told_as_the_suite_asks_it() -> None:
    told = {clause["id"]: clause["needs"] for clause in describe_clauses()["clauses"]}
    for id, clause in CLAUSES.items():
        for promised in (frozenset[str](), frozenset(PROMISES), *(frozenset({word}) for word in PROMISES)):
            for traits in (
                Traits(),
                Traits(dedupe="until_done", requeue="any"),
                Traits(dedupe="until_claimed", outlasts=None),
            ):
                held = all(
                    not promised.isdisjoint(need["promise"])
                    if "promise" in need
                    else getattr(traits, need["trait"]) in need["is"]
                    for need in told[id]
                )
                assert held == (clause.missing(promised, traits) is None)


def test_the_command_writes_the_clauses_and_checks_nothing(tmp_path: Path) -> None:
    printed = CliRunner().invoke(command, ["--clauses", "--json"])
    written = CliRunner().invoke(command, ["--clauses", "--json", str(tmp_path / "clauses.json")])
    shown = CliRunner().invoke(command, ["--clauses"])
    refused = CliRunner().invoke(command, ["--clauses", "--seed", "0"])

    assert (printed.exit_code, written.exit_code, shown.exit_code, refused.exit_code) == (0, 0, 0, 2)
    assert printed.stdout == (tmp_path / "clauses.json").read_text() == DATA.read_text(encoding="utf-8")
    assert all(id in shown.stdout for id in CLAUSES)
