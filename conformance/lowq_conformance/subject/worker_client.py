"""Clients of a queue from which only its own worker claims: the begin of its handler is the claim, its end the ack.

The handler waits at a gate in each turn, so that what it has begun is in hand until the test acks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from lowq import Item
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.turn_log import Turn
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.subject.workers import Workers


class WorkerTurns:
    """The workers of one place, the turns that were handed out, and how many works may wait for one."""

    def __init__(self, subject: UnderTest, place: Path) -> None:
        self._subject, self._place = subject, place
        self._reaper: Reaper | None = None
        self._folder = Path()
        self.waiting = 0
        self.in_hand: Turn | None = None
        self.ended: set[str] = set()
        self._given = 0

    @cached_property
    def workers(self) -> Workers:
        """The workers, of which none runs before the first claim."""
        self._reaper, self._folder = Reaper(), Path(mkdtemp(prefix="lowq-turns-"))
        return Workers(self._subject, self._place, self._folder, self._reaper, gated=True)

    def next(self, seconds: float) -> Turn | None:
        """A turn that has begun and was not handed out before, or None where none begins within so many seconds."""
        if not self.workers.until(lambda: len(self.workers.turns()) > self._given, seconds):
            return None
        self.in_hand = self.workers.turns()[self._given]
        self._given += 1
        self.waiting -= 1
        return self.in_hand

    def close(self) -> None:
        """No worker is left."""
        if self._reaper is None:
            return
        self.workers.kill()
        self._reaper.close()
        rmtree(self._folder)


class WorkerClient(Client):
    """A client that pushes; what it claims is what a worker has begun."""

    def __init__(self, subject: UnderTest, raw: Any, label: str, place: Path, turns: WorkerTurns) -> None:
        super().__init__(subject, raw, label, place)
        self._turns = turns

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        keyless: bool = False,
    ) -> Answer:
        """The work was pushed."""
        if not_before is not None:
            raise NotPromised("its own worker claims, and when it would is not told")
        if self.subject.traits.dedupe != "off" and work_text(work) in self._turns.ended:
            raise NotPromised("its own worker acks, and when it has is not told")
        answer = super().push(work, key=key, priority=priority, headers=headers, keyless=keyless)
        self._turns.waiting += answer.added is not False
        return answer

    def push_many(self, items: Iterable[Item]) -> list[Answer] | None:
        """The items were pushed together."""
        pushed = list(items)
        answers = super().push_many(pushed)
        self._turns.waiting += len(pushed)
        return answers

    def claim(self, *, lease_for: timedelta = MINUTE, wait: timedelta | None = None) -> Held | None:  # noqa: ARG002  the worker's own
        """What a worker has begun; None: nothing has, within ten times the queue's patience where something waits."""
        turns, subject = self._turns, self.subject
        if turns.in_hand is not None:
            raise NotPromised("its own worker claims, one task after the other")
        if subject.traits.workers is not None or not turns.workers.running():
            turns.workers.start()
        patience = subject.traits.patience.total_seconds()
        call = subject.journal.begin("the next turn of the handler")
        turn = turns.next(turns.workers.bound if turns.waiting > 0 else patience)
        subject.journal.end(call, "None" if turn is None else format_value(turn.work))
        if turn is None:
            return None
        if turn.untold:
            raise NotPromised("its handler's turn at a work like this cannot be written down")
        label = subject.next_label("turn")
        subject.journal.assign(label)
        return Held(label, turn)

    def ack(self, held: Held, *, claim_for: timedelta | None = None) -> Held | None:
        """The turn is over."""
        if claim_for is not None:
            raise NotPromised("its own worker claims")
        turn: Turn = held.raw
        call = self.subject.journal.begin(f"{held.label} ends")
        self._turns.workers.handler.open(turn.name)
        if not self._turns.workers.until(lambda: self._turns.workers.turns() and turn.end is not None):
            raise Broken(f"the handler's turn at {format_value(turn.work)} was cut off")
        self.subject.journal.end(call, "")
        self._turns.in_hand = None
        self._turns.ended.add(work_text(turn.work))
        return None
