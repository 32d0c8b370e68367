"""No test of a clause takes a claim's None for an empty queue, but where it expects None or asks again."""

from __future__ import annotations

import ast
from pathlib import Path

import lowq_conformance.cases

EXPECTED = {
    "test_bulk.test_the_lease_of_what_is_claimed_together_holds_as_long_as_was_asked_for",
    "test_close.be_refused",
    "test_due.test_a_time_is_not_rounded_up_to_whole_seconds",
    "test_lease.test_a_lease_begins_with_its_claim_however_long_the_task_waited",
    "test_lease.test_a_lease_holds_until_shortly_before_its_end",
    "test_lease.test_a_lease_of_zero_or_less_is_refused",
    "test_lease.test_closing_another_client_does_not_end_the_lease_of_a_claim_that_may_wait",
    "test_lease.test_an_extended_lease_holds_longer",
    "test_server.play",
    "test_server.test_clients_work_again_when_the_server_is_there_again",
    "test_tx._look_in_the_midst",
    "test_wait.scene",
    "test_wait.test_a_lease_begins_when_a_claim_that_waited_gets_its_task",
    "test_wait.test_a_waiting_claim_ends_when_its_time_is_over_and_not_before",
}
CASES = Path(lowq_conformance.cases.__file__).parent


def claiming(file: Path) -> set[str]:
    """The functions of the file that call a client's claim themselves."""
    found = set[str]()
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef):
            calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            if any(isinstance(called, ast.Attribute) and called.attr == "claim" for called in calls):
                found.add(f"{file.stem}.{function.name}")
    return found


def test_who_claims_without_asking_again_expects_none() -> None:
    assert set[str]().union(*map(claiming, CASES.glob("test_*.py"))) == EXPECTED
