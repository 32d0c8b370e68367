"""TX: pushes that are part of the application's own transaction."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lowq_conformance.cases.expect import gives, gives_all, nothing, push_new, wrong
from lowq_conformance.cases.waiting import BEGINS, InThread
from lowq_conformance.contract.outcomes import NotObserved, Refused
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.subject.client import MINUTE, Client
from lowq_conformance.subject.subject import RolledBack, Subject

LOOKS = 0.1
"""Seconds in which a claim would have found a push that is not committed."""


def roll_back(subject: Subject, place: Path, *works: str) -> None:
    """A transaction pushed the works, and was rolled back."""
    with subject.transaction(place) as tx:
        for work in works:
            tx.push(work)
        raise RolledBack


def commit(subject: Subject, place: Path, *works: str) -> None:
    """A transaction pushed the works, and was committed."""
    with subject.transaction(place) as tx:
        for work in works:
            tx.push(work)


@pytest.mark.clause("TX-1")
def test_what_is_rolled_back_was_never_pushed(q: Client, subject: Subject, place: Path) -> None:
    roll_back(subject, place, "a", "b")

    nothing(q)


@pytest.mark.clause("TX-1")
@pytest.mark.parametrize("again", ["by itself", "in a transaction"])
def test_what_is_rolled_back_may_be_pushed_again(q: Client, subject: Subject, place: Path, again: str) -> None:
    roll_back(subject, place, "a")
    if again == "by itself":
        push_new(q, "a")
    else:
        commit(subject, place, "a")

    gives_all(q, "a")


@pytest.mark.clause("TX-1")
def test_what_is_rolled_back_leaves_all_else_as_it_was(q: Client, subject: Subject, place: Path) -> None:
    q.push("before")
    commit(subject, place, "committed")
    roll_back(subject, place, "a")
    q.push("behind")

    gives_all(q, "before", "committed", "behind")


@pytest.mark.clause("TX-2")
def test_a_push_is_not_claimed_before_the_commit(q: Client, subject: Subject, place: Path) -> None:
    if subject.traits.main_thread or "threads" not in subject.promises:
        _look_in_the_midst(q, subject, place)
        return
    with subject.transaction(place) as tx:
        tx.push("a")
        looks = InThread(q, timedelta(0))  # it may wait for the transaction, which its end ends
        looks.asleep(LOOKS)
        if looks.is_over() and looks.held is not None:
            raise wrong(q, "None, as nothing was committed")
    looks.join(BEGINS)
    if not looks.is_over():
        raise NotObserved("a claim that began in the transaction does not end with it")
    if looks.held is not None:
        q.ack(looks.held)
    else:
        gives(q, "a")
    nothing(q)


def _look_in_the_midst(q: Client, subject: Subject, place: Path) -> None:
    """As above, for a queue that is used by one thread: its claim answers None, or is refused."""
    with subject.transaction(place) as tx:
        tx.push("a")
        try:
            held = q.claim()
        except Refused:
            held = None
        if held is not None:
            raise wrong(q, "None, as nothing was committed")
    gives_all(q, "a")


@pytest.mark.clause("TX-3")
def test_what_is_committed_is_there(q: Client, subject: Subject, place: Path) -> None:
    commit(subject, place, "a", "b", "c")

    gives_all(q, "a", "b", "c")


@pytest.mark.clause("TX-3")
@pytest.mark.needs("fifo")
def test_what_is_committed_comes_out_in_the_order_of_the_commits(q: Client, subject: Subject, place: Path) -> None:
    q.push("before")
    commit(subject, place, "one", "two")
    q.push("between")
    roll_back(subject, place, "never")
    commit(subject, place, "three", "four")
    q.push("behind")

    gives(q, "before", "one", "two", "between", "three", "four", "behind")
    nothing(q)


@pytest.mark.clause("TX-4")
def test_a_program_that_dies_before_the_commit_leaves_nothing(
    q: Client, subject: Subject, place: Path, tmp_path: Path, agents: Agents
) -> None:
    orders = Orders(subject.target, subject.promises, subject.traits, place, tmp_path, MINUTE)
    agent = agents.start(orders)
    subject.journal.note(f"process {agent.pid}: with transaction(place) as tx: tx.push('a'), and kill -9")
    agent.do([{"client": "dies", "slot": 0, "steps": [["transact", ["a"]], ["die"]]}])
    agents.bury(agent)
    if not (tmp_path / "transacted").exists():
        raise NotObserved("the process could not push in a transaction")

    nothing(q)
    nothing(subject.open(place))
    push_new(q, "a")
    gives_all(q, "a")
