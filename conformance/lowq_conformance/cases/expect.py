"""Expectations of the tests of clauses; one that is not met is written behind the call that missed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowq_conformance.contract.outcomes import ACCIDENTS, Broken, NotObserved, NotPromised, Refused
from lowq_conformance.contract.promises import REMEMBERED
from lowq_conformance.contract.refusals import holds_whole_float, may_refuse
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.support.asking import ask_again


def wrong(q: Client, expected: str, *, sure: bool = False) -> Broken:
    """The last call of `q` should have answered otherwise; `sure`: also where a task may have been set aside.

    Raises NotPromised where what was missed may be a task that was handed out too often."""
    if not sure and (why := q.subject.may_set_aside(q.place)):
        raise NotPromised(why)
    if q.subject.is_late(q.place):
        raise NotObserved("the machine was too slow: a lease ran out, whose length the queue fixes")
    if q.subject.gave_up:
        raise NotObserved(f"the machine was too slow: {q.subject.gave_up}")
    q.subject.journal.expect(expected)
    return Broken(f"expected {expected}", shown=True)


def expect(q: Client, met: bool, expected: str) -> None:
    """What the last call answered is as `expected`, in words."""
    if not met:
        raise wrong(q, expected)


def claim(q: Client, *, lease_for: Any = MINUTE) -> Held | None:
    """A claim; a queue that may falsely say that it is empty is asked until its patience is over."""
    held = q.claim(lease_for=lease_for)
    if held is None and q.subject.serves_nobody(q.place):
        raise NotPromised("it hands out one task at a time")
    if held is None and q.subject.may_be_empty_for_now(q.place):
        again = ask_again(q.subject.traits.patience.total_seconds())
        while held is None and next(again, False):
            held = q.claim(lease_for=lease_for)
    return held


def takes(q: Client, work: Any, *, lease_for: Any = MINUTE) -> Held:
    """A claim that hands out this work."""
    held = claim(q, lease_for=lease_for)
    if held is None or work_text(held.work) != work_text(work):
        raise wrong(q, "a task whose work is None" if work is None else format_value(work))
    return held


def something(q: Client, *, lease_for: Any = MINUTE) -> Held:
    """A claim that hands out a task, whichever."""
    held = claim(q, lease_for=lease_for)
    if held is None:
        raise wrong(q, "a task")
    return held


def nothing(q: Client) -> None:
    """A claim that hands out nothing."""
    if q.claim() is not None:
        raise wrong(q, "None")


def gives(q: Client, *works: Any) -> None:
    """These works come out in this order, each acked before the next is claimed."""
    for work in works:
        q.ack(takes(q, work))


def gives_all(q: Client, *works: Any) -> None:
    """These works come out in any order and then nothing."""
    left = [work_text(work) for work in works]
    for _ in works:
        held = something(q)
        if work_text(held.work) not in left:
            raise wrong(q, "none of what was pushed" if not left else f"one of {', '.join(left)}")
        left.remove(work_text(held.work))
        q.ack(held)
    nothing(q)


def push_new(q: Client, work: Any, **given: Any) -> Any:
    """A push that adds the work; what it answers is returned."""
    answer = q.push(work, **given)
    if answer.added is False:
        raise wrong(q, "added")
    return answer


LONG = 4000
"""Characters of a text that a queue with room for little may refuse by name (DELIVER-8)."""


def push_unless_refused(q: Client, work: Any, **given: Any) -> Answer | None:
    """What the push answered; None where the queue refused a work that it says it refuses, or that is long, which is
    not kept then; and where it says that it may come out as another one."""
    if not q.subject.traits.whole_floats and holds_whole_float(work):
        return None
    try:
        return q.push(work, **given)
    except Refused as refusal:
        if not (may_refuse(work, q.subject.traits) or (isinstance(work, str) and len(work) >= LONG)):
            raise
        expect_named_error(q, refusal.cause)
        return None


def says_added(q: Client, added: bool | None, expected: bool) -> None:
    """The last push said so. Raises NotPromised where the queue's pushes do not say."""
    if added is None:
        raise NotPromised("push does not say whether it added")
    if added is not expected:
        raise wrong(q, "added" if expected else "not added")


def expect_refusal(verb: Callable[..., Any], *arguments: Any, **given: Any) -> Exception | None:
    """The call is refused; what was raised is returned, or None where it answered False."""
    q: Client = verb.__self__  # type: ignore[attr-defined]  # a bound method of a client
    try:
        verb(*arguments, **given)
    except Refused as refusal:
        return refusal.cause
    raise wrong(q, "it to be refused")


def expect_named_error(
    q: Client, error: Exception | None, accidents: tuple[type[Exception], ...] = ACCIDENTS
) -> None:
    """The error that the last call raised was raised on purpose, being none of `accidents`, and says something: by
    its text, or by its name where that is none of Python's own, as queue.Full is."""
    on_purpose = error is not None and type(error) is not Exception and not isinstance(error, accidents)
    if not on_purpose or not (str(error).strip() or type(error).__module__ != "builtins"):
        raise wrong(q, "a named error that says what is wrong")


def forgets(q: Client, *ended: str) -> None:
    """Raise NotPromised where tasks that ended so may refuse an equal work."""
    for word in ended:
        if word in q.subject.traits.remembers:
            raise NotPromised(f"{REMEMBERED[word]} may refuse an equal work (remembers)")


def must_list(q: Client, state: str) -> None:
    """Raise NotPromised where tasks in that state are not counted, and so need not be listed."""
    if state not in (q.count() or ()):
        raise NotPromised(f"{state} tasks are not counted, and need not be listed")


def asks_for_leases(q: Client) -> None:
    """Raise NotPromised where nobody asks for the length of a lease."""
    if q.subject.traits.fixed_lease is not None:
        raise NotPromised("the queue fixes how long its leases are")


def require_return(subject: UnderTest, times: int = 1) -> None:
    """Raise NotPromised where a task may be set aside that was handed out so often."""
    limit = subject.traits.max_deliveries
    if limit is not None and limit <= times:
        raise NotPromised(f"a task that comes back may be set aside: max_deliveries is {limit}")


def require(value: Any, what: str) -> Any:
    """The value. Raises NotPromised where the queue does not tell it."""
    if value is None:
        raise NotPromised(f"the queue does not tell {what}")
    return value
