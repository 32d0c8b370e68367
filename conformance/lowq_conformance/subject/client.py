"""A harness's client as the suite uses it: every call recorded, keywords passed only where they are promised."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lowq import Headers, Item, State
from lowq_conformance.contract.harness import brings
from lowq_conformance.contract.outcomes import ACCIDENTS, NotPromised, Refused
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.contract.refusals import may_refuse
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import (
    ENDED,
    Answer,
    field,
    has_instant,
    read_answer,
    read_yes_or_no,
    show_claim,
    show_listed,
    show_listing,
    show_nothing,
    show_push,
    show_push_many,
    show_settle,
)
from lowq_conformance.subject.program import format_call, format_value
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.support.text import describe_error

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A task that a client has claimed: what the queue handed out, and the name it has in the program."""

    label: str
    raw: Any
    lease: timedelta = MINUTE
    """For how long it is held."""

    @property
    def work(self) -> Any:
        """The work that was handed out."""
        return self.raw.work

    @property
    def id(self) -> Any:
        """The task's id, or None where the queue does not say."""
        return field(self.raw, "id")

    @property
    def attempts(self) -> int | None:
        """How many claims the task has had, or None where the queue does not say."""
        attempts: int | None = field(self.raw, "attempts")
        return attempts

    def is_task_of(self, other: Held) -> bool:
        """Whether it is, or where the queue tells no ids may be, the task that was claimed there."""
        return bool(self.work == other.work if self.id is None else self.id == other.id)

    def __repr__(self) -> str:
        return self.label


def raw_of(part: Any) -> Any:
    """What the queue itself handed out, where the part of a call is that, or a list of such."""
    if isinstance(part, list) and part and all(isinstance(each, Held) for each in part):
        return [each.raw for each in part]
    return part.raw if isinstance(part, Held) else part


class Client:
    """One opened client of the queue at a place. A call that raises, or a settle that answers False, is `Refused`."""

    def __init__(self, subject: UnderTest, raw: Any, label: str, place: Any) -> None:
        self.subject = subject
        self.raw = raw
        self.label = label
        self.place = place
        self.closed = False
        self._pid = os.getpid()
        self._kept: dict[int, Any] = {}
        """What it has claimed and not settled: a claim may last as long as its object, as where that has a lock."""

    @property
    def promises(self) -> frozenset[str]:
        """What the harness promises."""
        return self.subject.promises

    def has(self, method: str) -> bool:
        """Whether the client has the method."""
        return brings(self.raw, method)

    def takes(self, method: str, keyword: str) -> bool:
        """Whether the client's method takes the keyword."""
        return self.subject.takes(method, keyword)

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
        """The work was pushed; what is None or 0 was not passed, nor are headers where they are not promised.

        Where only a key makes works equal, each gets one that is equal where the works are, unless it is `keyless`.
        """
        key = key if keyless else self.key(work, key)
        given = {"key": key, "priority": priority, "not_before": not_before}
        passed: dict[str, Any] = {
            name: value for name, value in given.items() if name in self.promises and (value or value == "")
        }
        if headers is not None and "headers" in self.promises:
            passed["headers"] = headers
        try:
            answer = read_answer(self._call("push", [work], passed, show_push))
        except Refused as refusal:
            traits = self.subject.traits
            if (
                type(priority) is int
                and traits.priorities is not None
                and traits.bound_priority(priority) != priority
            ):
                refusal.stated = "its priorities go from {} to {}".format(*traits.priorities)
            elif not isinstance(refusal.cause, ACCIDENTS):
                kept_out = "it refuses such works" if may_refuse(work, traits) else ""
                refusal.stated = kept_out or self.subject.has_no_room(self.place)
            raise
        self.subject.put(self.place, int(answer.added is not False))
        return answer

    def key(self, work: Any, key: str | None) -> str | None:
        """The key under which the work is pushed."""
        traits = self.subject.traits
        if key is not None or traits.dedupe == "off" or traits.dedupe_by == "work":
            return key
        return f"work {work_text(work)}"

    def push_many(self, items: Iterable[Item]) -> list[Answer] | None:
        """The items were pushed together; None where the queue does not say what became of each.

        Where headers are not promised, no item has any.
        """
        given = [replace(item, key=self.key(item.work, item.key)) for item in items]
        if "headers" not in self.promises:
            given = [replace(item, headers=Headers()) for item in given]
        try:
            answers = self._call("push_many", [given], {}, show_push_many)
        except Refused as refusal:
            if not isinstance(refusal.cause, ACCIDENTS):
                refusal.stated = self.subject.has_no_room(self.place, len(given))
            raise
        self.subject.put(self.place, len(given))
        return [read_answer(answer) for answer in answers] if isinstance(answers, (list, tuple)) else None

    def claim(self, *, lease_for: timedelta = MINUTE, wait: timedelta | None = None) -> Held | None:
        """What was handed out, or None; `wait` is passed where it is given and promised.

        Who has a task in hand may be refused another by name where one at a time is in hand: that is None, too.
        """
        if not self.has("claim"):
            raise NotPromised("its own worker claims")
        fixed = "lease" not in self.promises or self.subject.traits.fixed_lease is not None
        passed: dict[str, Any] = {} if fixed else {"lease_for": lease_for}
        if wait is not None and "wait" in self.promises:
            passed["wait"] = wait
        try:
            held = self._hold(*self._name(self._call("claim", [], passed, show_claim)), lease_for)
        except Refused as refusal:
            if self._has_one(refusal):
                return None
            raise
        if held is not None:
            self._took(held, held.lease)
        return held

    def _has_one(self, refusal: Refused) -> bool:
        """Whether a claim may have been refused because this client has a task in hand, and one at a time is."""
        usable = not self.closed and self._pid == os.getpid()
        return usable and not isinstance(refusal.cause, ACCIDENTS) and self.subject.serves_nobody(self.place)

    def _took(self, held: Held, lease: timedelta, *, longer: bool = False) -> None:
        """The task is in hand for so long; `longer`: as it was before."""
        self._kept[id(held.raw)] = held.raw
        self.subject.took(held.raw, self.place, lease)
        if (delivered := self.subject.deliveries(self.place)) is not None:
            until = self.subject.now(self.place) + lease if "lease" in self.promises else None
            if longer:
                delivered.note_extension(held.label, until)
            else:
                delivered.note_claim(held.label, (held.id, work_text(held.work)), until)

    def claim_many(self, limit: int, *, lease_for: timedelta = MINUTE) -> list[Held]:
        """What was handed out together, at most so many."""
        fixed = "lease" not in self.promises or self.subject.traits.fixed_lease is not None
        raws = self._call("claim_many", [limit], {} if fixed else {"lease_for": lease_for}, show_listing)
        label = self.subject.next_label("leases" if "lease" in self.promises else "tasks")
        self.subject.journal.assign(label)
        found = [self._hold(f"{label}[{number}]", raw, lease_for) for number, raw in enumerate(raws)]
        held = [each for each in found if each is not None]
        for each in held:
            self._took(each, each.lease)
        return held

    def ack_many(self, held: Sequence[Held]) -> None:
        """The tasks are done, but those that are another's by now, which the queue may leave out, or refuse all."""
        self._call("ack_many", [list(held)], {}, show_nothing)
        for each in held:
            self._is_settled(each, "ack")
        self.subject.put(self.place, -len(held))

    def extend(self, held: Held, *, lease_for: timedelta) -> Held:
        """The lease was extended; use what is returned from now on."""
        raw = self._settle("extend", held, {"lease_for": lease_for} if self.takes("extend", "lease_for") else {})
        length = self.extension(held, lease_for)
        longer = replace(held, raw=held.raw if raw is None or raw is True else raw, lease=length)
        self.subject.let_go(held.raw)
        self._took(longer, length, longer=True)
        return longer

    def extension(self, held: Held, lease_for: timedelta) -> timedelta:
        """How long an extension holds the task from then on that asks for so long: where extend takes no length, for
        as long as the claim asked for."""
        return self.subject.lease(lease_for) if self.takes("extend", "lease_for") else held.lease

    def ack(self, held: Held, *, claim_for: timedelta | None = None) -> Held | None:
        """The task is done; with `claim_for`, only where the client takes it, what was claimed in the same step."""
        if claim_for is None:
            self._settle("ack", held, {})
            self.subject.put(self.place, -1)
            return None
        taken = self._hold(*self._name(self._settle("ack", held, {"claim_for": claim_for}, show_claim)), claim_for)
        self.subject.put(self.place, -1)
        if taken is not None:
            self._took(taken, taken.lease)
        return taken

    def release(
        self,
        held: Held,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        uncount: bool = False,
    ) -> None:
        """The task was given back; arguments that are None or False were not passed.

        Raises NotPromised where it was to wait for a time, and the queue's release takes none.
        """
        given = {"not_before": not_before, "reason": reason, "uncount": uncount}
        passed = {name: value for name, value in given.items() if value}
        for name in passed:
            if not self.takes("release", name):
                raise NotPromised(f"release takes no {name}")
        self._settle("release", held, passed)

    def dead_letter(self, held: Held, *, reason: str = "broken") -> None:
        """The task was set aside."""
        self._settle("dead_letter", held, {"reason": reason} if self.takes("dead_letter", "reason") else {})

    def redrive(self, id: Any) -> bool | None:
        """What redrive said: True, False, or None where it does not say."""
        return read_yes_or_no(self._call("redrive", [id], {}, format_value))

    def cancel(self, id: Any) -> bool | None:
        """What cancel said: True, False, or None where it does not say."""
        gone = read_yes_or_no(self._call("cancel", [id], {}, format_value))
        self.subject.put(self.place, -int(gone is True))
        return gone

    def task(self, id: Any) -> Any:
        """The task as the queue tells of it, or None."""
        return self._call("task", [id], {}, show_listed)

    def tasks(self, *, state: str | None = None) -> list[Any]:
        """What the queue lists, without what it says has ended; `state` only where the client takes it."""
        listed = self._call("tasks", [], {} if state is None else {"state": State(state)}, show_listing)
        return [task for task in listed if str(field(task, "state")) not in ENDED]

    def count(self) -> dict[str, int] | None:
        """How many tasks are in each state that the queue counts: by attribute or, in a mapping, by name, where a
        state may be missing that no task is in; None where nothing is told."""
        counts = self._call("count", [], {}, format_value)
        if isinstance(counts, Mapping):
            return {str(state): number for state, number in counts.items()}
        told = {state.value: getattr(counts, state.value) for state in State if hasattr(counts, state.value)}
        return told or None

    def peek(self) -> Any:
        """What the queue shows as being next, or None."""
        return self._call("peek", [], {}, show_claim)

    def next_due(self) -> datetime | None:
        """What next_due said."""
        answer: datetime | None = self._call("next_due", [], {}, format_value)
        return answer

    def close(self) -> None:
        """The client was closed."""
        self.closed = True
        self._call("close", [], {}, show_nothing)

    def let_go(self) -> bool:
        """Close without record whatever the test left open, and say whether that returned.

        CLOSE has its own tests, so that errors do not matter.
        """
        if self.closed or not self.has("close"):
            return False
        self.closed = True
        try:
            self.subject.loop(self.place).result(self.raw.close())
        except Exception as error:
            self.subject.journal.end(self.subject.journal.begin(f"{self.label}.close()"), describe_error(error))
            return False
        return True

    def _name(self, raw: Any) -> tuple[str, Any]:
        """The name that a claimed task gets in the program, and the task."""
        if raw is None:
            return "", None
        label = self.subject.next_label("lease" if "lease" in self.promises else "task")
        self.subject.journal.assign(label)
        return label, raw

    def _hold(self, label: str, raw: Any, lease_for: timedelta) -> Held | None:
        if raw is None:
            return None
        if not hasattr(raw, "work"):
            raise BrokenHarness(
                f"{self.subject.target}: claim: expected None or something with .work, got {type(raw).__name__}"
            )
        return Held(label, raw, self.subject.lease(lease_for))

    def _settle(
        self,
        verb: str,
        held: Held,
        passed: dict[str, Any],
        shown: Callable[[Any], str] | None = None,
    ) -> Any:
        answer = self._call(verb, [held], passed, shown or show_settle)
        if answer is False:
            raise Refused(format_call(f"{self.label}.{verb}", [held], {}), None)
        if verb != "extend":
            self._is_settled(held, verb)
        return answer

    def _is_settled(self, held: Held, verb: str) -> None:
        """The task is in this client's hand no more."""
        self._kept.pop(id(held.raw), None)
        self.subject.let_go(held.raw)
        self._let_it_go(held, verb)

    def _let_it_go(self, held: Held, verb: str) -> None:
        """The task was settled by that verb."""
        if (delivered := self.subject.deliveries(self.place)) is None:
            return
        if verb == "release":
            delivered.note_release(held.label, self.subject.now(self.place))
        else:
            delivered.note_end(held.label)

    def _call(
        self,
        verb: str,
        positional: list[Any],
        passed: dict[str, Any],
        shown: Callable[[Any], str],
    ) -> Any:
        """Make the call and record it."""
        subject = self.subject
        now = subject.now(self.place) if has_instant(positional, passed) else None
        text = format_call(f"{self.label}.{verb}", positional, passed, now)
        call = subject.journal.begin(text)
        raw = [raw_of(part) for part in positional]
        began = time.monotonic()
        try:
            answer = subject.loop(self.place).result(getattr(self.raw, verb)(*raw, **passed))
            if isinstance(answer, Iterator):  # such as a generator, whose body is a part of the call
                answer = list(answer)
        except Exception as error:
            subject.journal.end(call, describe_error(error))
            subject.note_refusal(text, error, began)
            raise Refused(text, error) from error
        subject.journal.end(call, shown(answer))
        return answer
