"""The INTERRUPT clauses bite: each queue that an exception leaves torn or locked is accused, and no sound one is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.interruptions import Interruptions
from lowq_conformance.subject.loading import load
from lowq_conformance.support.interrupts import Cut, Interrupted, Interruptible

INTERRUPTED = [broken for broken in BROKEN.values() if broken.module == f"{broken_queues.__name__}.interrupt"]
FIRST = {queue.clauses: queue for queue in reversed(INTERRUPTED)}
"""One queue for each clause; the others are looked at by LOWQ_EXHAUSTIVE=1."""
ASKED = INTERRUPTED if "LOWQ_EXHAUSTIVE" in os.environ else list(FIRST.values())
IDS = [id for id, clause in CLAUSES.items() if clause.group == "INTERRUPT"]
SOUND = [
    "memory",
    "sqlite",
    "lowq_conformance.queues.sound.plain:Plain",
    "lowq_conformance.queues.sound.locked_files:LockedFiles",
    "lowq_conformance.queues.sound.strangers:Async",
    "lowq_conformance.queues.sound.spool:Spool",
    "lowq_conformance.queues.sound.interrupted:ClosesInTwoSteps",
    "lowq_conformance.queues.sound.interrupted:StopsAtAnInterruption",
    "lowq_conformance.queues.sound.interrupted:HasNothingWhenClosed",
]

Look = Callable[..., Interruptions]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Interruptions of a target, so many at most; what waits for ever is found out sooner than in a real run."""

    def interruptions(
        target: str, number: int = DEFAULT.interruptions, clauses: Sequence[str] = IDS
    ) -> Interruptions:
        profile = replace(DEFAULT, interruptions=number, interrupting=60.0, stuck=3.0)
        folder = partial(mkdtemp, dir=tmp_path)
        return Interruptions(load(target), lambda: Path(folder()), profile, Random(1), agents, frozenset(clauses))

    with Agents() as agents:
        yield interruptions


@pytest.mark.parametrize("queue", ASKED, ids=lambda queue: queue.name)
def test_every_queue_that_an_exception_leaves_wrong_is_accused_of_it(queue: BrokenQueue, look: Look) -> None:
    found = look(queue.target, clauses=queue.clauses)

    for clause in queue.clauses:
        with pytest.raises(Broken) as error:
            found.keeps(clause)
        assert error.value.program is not None
        assert "# interrupted at " in error.value.program


def test_a_coroutine_that_keeps_its_turn_when_it_is_cancelled_is_accused_of_it(look: Look) -> None:
    found = look(BROKEN["KeepsItsTurnWhenCancelled"].target, clauses=["INTERRUPT-2"])

    with pytest.raises(Broken, match="its client waits for ever"):
        found.keeps("INTERRUPT-2")


@pytest.mark.parametrize("name", ["LetsGoOfOthersTurns", "WritesForAll", "PutsBackWhatWasBefore"])
def test_a_cancelled_coroutine_that_harms_another_call_of_its_client_is_accused_of_it(name: str, look: Look) -> None:
    found = look(BROKEN[name].target, clauses=["INTERRUPT-2"])

    with pytest.raises(Broken, match="a push that was under way, was") as error:
        found.keeps("INTERRUPT-2")
    assert "# begun before the other call, returned" in (error.value.program or "")


def test_every_clause_of_it_has_a_queue_that_breaks_it() -> None:
    assert sorted({id for each in INTERRUPTED for id in each.clauses}) == IDS


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_is_accused_of_nothing(target: str, look: Look) -> None:
    found = look(target, number=40)

    for clause in IDS:
        found.keeps(clause)
    assert found.interrupted > 0


def test_what_was_acknowledged_is_looked_for_when_a_client_that_refuses_claims_is_opened_again(look: Look) -> None:
    found = look(BROKEN["LeavesItsTransactionOpen"].target, clauses=["INTERRUPT-2"])

    with pytest.raises(Broken, match=r"was acknowledged.*, and is not kept") as error:
        found.keeps("INTERRUPT-2")
    assert "raised BackendUnavailable: cannot start a transaction" in (error.value.program or "")


def test_a_queue_for_one_client_is_asked_of_nobody_else(look: Look, tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(
        "from lowq_conformance.queues.sound.plain import Plain\n"
        "class Alone(Plain):\n"
        "    promises = {'fifo', 'prompt'}\n"
    )
    found = look(f"{tmp_path}/alone.py:Alone")

    found.keeps("INTERRUPT-2")
    with pytest.raises(NotPromised):
        found.keeps("INTERRUPT-3")


def test_an_exception_is_raised_only_where_a_signal_could_be_handled() -> None:
    """Neither the beginning nor the end of a `with` block can be come between, and what cleans up is left alone."""
    lock = threading.Lock()

    class Client:
        def push(self) -> None:
            with lock:
                str(1)
            try:
                str(2)
            finally:
                self.clean_up()

        def clean_up(self) -> None:
            str(3)

    client = Interruptible(Client())
    client.cut = told = Cut(lambda file: file == __file__)
    client.push()
    start = Client.push.__code__.co_firstlineno
    assert [point.line - start for point in told.points] == [0, 2, 1, 4]

    for point in told.points:
        client.cut = cut = Cut(lambda file: file == __file__, point)
        with pytest.raises(Interrupted):
            client.push()
        assert cut.done
        assert not lock.locked()
