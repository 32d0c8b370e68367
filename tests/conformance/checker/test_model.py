"""The sequential model takes every answer that the contract allows, and names the clause of every other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from lowq_conformance.checker.model import Model
from lowq_conformance.checker.model_tasks import Mismatch, Span
from lowq_conformance.history.spec import Spec

from lowq import Dedupe


class Calls:
    """Calls to a model with the answers given; the clock stands still until `wait`.

    An answer that the model does not accept raises Mismatch: a test without an assertion says that all are accepted.
    """

    def __init__(
        self,
        dedupe: Dedupe = "until_done",
        redriven: Literal["alone", "any"] = "alone",
        remembers: tuple[str, ...] = (),
        **words: Any,
    ) -> None:
        self.model = Model(Spec(dedupe, **{"grace": 0, **words}), redriven, remembers)
        self.at = Span(0, 0)

    def wait(self, by: float) -> Any:
        self.at = Span(self.at.call + by, self.at.ret + by)

    def push(self, work: Any, added: bool | None = True, **words: Any) -> Any:
        equal = words["key"] if "key" in words else repr(work)
        return self.model.push(self.at, work, equal, added=added, **words)

    def claim(self, work: Any, **words: Any) -> Any:
        return self.model.claim(self.at, work, **{"lease_for": 30, **words})

    def nothing(self) -> Any:
        return self.make("claim_nothing")

    def ack(self, hold: Any, taken: bool = True) -> Any:
        return self.make("ack", hold, taken=taken)

    def release(self, hold: Any, taken: bool = True, **words: Any) -> Any:
        return self.make("release", hold, taken=taken, **words)

    def extend(self, hold: Any, taken: bool = True) -> Any:
        return self.make("extend", hold, 30, taken=taken)

    def dead_letter(self, hold: Any, taken: bool = True) -> Any:
        return self.make("dead_letter", hold, reason="no", taken=taken)

    def cancel(self, task: Any) -> Any:
        return self.make("cancel", task, done=True)

    def make(self, verb: str, *arguments: Any, **words: Any) -> Any:
        return getattr(self.model, verb)(self.at, *arguments, **words)

    def happens(self, what: str, *arguments: Any) -> Any:
        return getattr(self.model, what)(*arguments)


def clause_of(program: Callable[[Calls], object], **spec: Any) -> str:
    calls = Calls(**spec)
    with pytest.raises(Mismatch) as caught:
        program(calls)
    return caught.value.clause


def released(q: Calls) -> None:
    q.push("a")
    q.push("b")
    q.release(q.claim("a"))
    q.claim("b")


def ran_out(q: Calls) -> None:
    q.push("a")
    q.push("b")
    q.claim("a")
    q.wait(30)
    q.claim("b")


def stale(settle: str) -> Callable[[Calls], None]:
    def program(q: Calls) -> None:
        q.push("a")
        old = q.claim("a")
        q.wait(30)
        q.claim("a")
        getattr(q, settle)(old)

    return program


def holder_after_a_stale_ack(q: Calls) -> None:
    q.push("a")
    old = q.claim("a")
    q.wait(30)
    new = q.claim("a")
    q.ack(old, taken=False)
    q.ack(new, taken=False)


def gone(how: str) -> Callable[[Calls], None]:
    def program(q: Calls) -> None:
        task = q.push("a")
        getattr(q, how)(task if how == "cancel" else q.claim("a"))
        q.claim("a")

    return program


def run(q: Calls, *steps: tuple[Any, ...]) -> None:
    for verb, *arguments in steps:
        getattr(q, verb)(*arguments)


PROGRAMS: dict[str, Callable[[Calls], object]] = {
    "DELIVER-1": lambda q: run(q, ("push", "a"), ("nothing",)),
    "DELIVER-2": lambda q: run(q, ("push", "a"), ("claim", "b")),
    "DELIVER-4": gone("ack"),
    "DEAD-1": gone("dead_letter"),
    "CANCEL-1": gone("cancel"),
    "DEDUPE-1": lambda q: run(q, ("push", "a"), ("push", "a")),
    "DEDUPE-3": lambda q: run(q, ("push", 1), ("push", 1.0, False)),
    "DEDUPE-4": lambda q: (q.push("a", key="k"), q.push("b", key="k")),
    "DEDUPE-5": lambda q: (q.push("a"), q.ack(q.claim("a")), q.push("a", False)),
    "DEDUPE-6": lambda q: (q.push("a"), q.claim("a"), q.push("a")),
    "DEDUPE-7": lambda q: (q.push("a"), q.dead_letter(q.claim("a")), q.push("a", False)),
    "DEDUPE-8": lambda q: (q.push("a"), q.push("b"), q.push("b", False, priority=1), q.claim("b")),
    "DEDUPE-11": lambda q: q.model.push_many(q.at, [{"work": "a", "equal": "a", "added": True}] * 2),
    "DEDUPE-12": lambda q: (q.push("a"), q.release(q.claim("a")), q.push("a")),
    "ORDER-1": lambda q: run(q, ("push", "a"), ("push", "b"), ("claim", "b")),
    "ORDER-2": lambda q: (q.push("a", client="q"), q.push("b", client="q2"), q.claim("b")),
    "ORDER-3": lambda q: (q.push("a"), q.push("b", priority=1), q.claim("a")),
    "ORDER-4": lambda q: (q.push("a", priority=1), q.push("b", priority=1), q.claim("b")),
    "ORDER-5": lambda q: (q.push("a", priority=-1), q.push("b"), q.claim("a")),
    "ORDER-6": released,
    "ORDER-7": ran_out,
    "DUE-1": lambda q: (q.push("a", not_before=5), q.wait(4), q.claim("a")),
    "DUE-2": lambda q: (q.push("a", not_before=5), q.wait(5), q.nothing()),
    "DUE-4": lambda q: (q.push("a"), q.push("b", priority=1, not_before=5), q.wait(5), q.claim("a")),
    "DUE-5": lambda q: (q.push("a", not_before=5), q.push("b"), q.nothing()),
    "LEASE-1": lambda q: (q.push("a"), q.claim("a"), q.wait(29), q.claim("a")),
    "LEASE-2": lambda q: (q.push("a"), q.claim("a"), q.wait(30), q.nothing()),
    "LEASE-3": lambda q: (q.push("a"), q.claim("a"), q.wait(30), q.claim("a", attempts=1)),
    "LEASE-4": stale("ack"),
    "LEASE-5": stale("release"),
    "LEASE-6": stale("extend"),
    "LEASE-7": holder_after_a_stale_ack,
    "LEASE-8": lambda q: (q.push("a"), q.extend(q.claim("a")), q.wait(29), q.claim("a")),
    "LEASE-9": lambda q: (q.push("a"), hold := q.claim("a"), q.ack(hold), q.release(hold)),
    "LEASE-10": lambda q: (q.push("a"), q.claim("a"), q.happens("client_came_or_went"), q.claim("a")),
    "LEASE-13": stale("dead_letter"),
    "RELEASE-1": lambda q: (q.push("a"), q.release(q.claim("a")), q.nothing()),
    "RELEASE-2": lambda q: (q.push("a"), q.release(q.claim("a"), not_before=5), q.claim("a")),
    "RELEASE-3": lambda q: (q.push("a"), q.release(q.claim("a")), q.claim("a", attempts=1)),
    "CANCEL-2": lambda q: (task := q.push("a"), q.claim("a"), q.cancel(task)),
    "CANCEL-3": lambda q: (task := q.push("a"), q.ack(q.claim("a")), q.cancel(task)),
    "KEEP-1": lambda q: (q.push("a"), q.happens("reopen"), q.nothing()),
    "BATCH-1": lambda q: (q.happens("refuse", "a", "BATCH-1"), q.claim("a")),
}


@pytest.mark.parametrize("clause", PROGRAMS)
def test_a_wrong_answer_breaks_the_clause_that_says_so(clause: str) -> None:
    assert clause_of(PROGRAMS[clause]) == clause


# From here on a program is allowed where the model takes it: a `Mismatch` is what would be raised.


def test_without_grace_a_lease_that_ran_out_may_end_or_not() -> None:
    q = Calls(grace=None)
    q.push("a")
    q.claim("a")

    q.wait(30)

    q.nothing()
    q.claim("a")


def test_the_holder_of_a_lease_that_ran_out_may_still_settle_until_somebody_claims() -> None:
    for taken in (True, False):
        q = Calls()
        q.push("a")
        hold = q.claim("a")
        q.wait(30)
        q.ack(hold, taken=taken)


def test_until_claimed_a_work_may_be_queued_once_while_it_runs() -> None:
    q = Calls("until_claimed")
    q.push("a")
    q.claim("a")
    q.push("a")

    q.push("a", added=False)


def test_released_beside_a_waiting_equal_both_are_kept() -> None:
    q = Calls("until_claimed")
    q.push("a")
    hold = q.claim("a")
    q.push("a")

    q.release(hold)

    q.claim("a")
    q.claim("a")
    q.nothing()


def test_a_queue_without_order_may_hand_out_any_task() -> None:
    q = Calls(fifo=False)
    q.push("a")
    q.push("b")

    q.claim("b")


def test_where_due_times_order_they_order_those_that_have_one() -> None:
    def program(q: Calls) -> None:
        q.push("a", not_before=9)
        q.push("b", not_before=5)
        q.wait(9)
        q.claim("a")

    assert clause_of(program, due_order="due") == "ORDER-1"
    program(Calls(due_order="push"))
    program(Calls(due_order=None))


def test_within_the_clocks_error_a_task_may_come_early_or_late() -> None:
    for early in (True, False):
        q = Calls(eps=1)
        q.push("a", not_before=5)
        q.wait(4 if early else 5.5)
        if early:
            q.claim("a")
        else:
            q.nothing()


def test_a_push_that_does_not_say_is_taken_at_the_models_word() -> None:
    q = Calls()
    assert q.push("a", added=None) is not None
    assert q.push("a", added=None) is None


@pytest.mark.parametrize("told", [1, 2])
def test_a_redriven_task_counts_its_attempts_anew_or_on(told: int) -> None:
    q = Calls()
    task = q.push("a")
    q.dead_letter(q.claim("a"))
    q.make("redrive", task, done=True)

    q.claim("a", attempts=told)


def test_a_task_is_redriven_beside_an_equal_one_where_nothing_else_is_said() -> None:
    def program(q: Calls) -> None:
        task = q.push("a")
        q.dead_letter(q.claim("a"))
        q.push("a")
        q.make("redrive", task, done=True)
        q.claim("a")
        q.claim("a")
        q.nothing()

    program(Calls(redriven="any"))
    assert clause_of(program) == "DEAD-3"


def test_a_redriven_task_counts_its_attempts_in_no_other_way() -> None:
    def program(q: Calls) -> None:
        task = q.push("a")
        q.dead_letter(q.claim("a"))
        q.make("redrive", task, done=True)
        q.claim("a", attempts=3)

    assert clause_of(program) == "DEAD-3"


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("word", ["done", "dead", "cancelled"])
def test_what_has_ended_may_refuse_an_equal_work_where_it_is_remembered(word: str, added: bool) -> None:
    q = Calls(remembers=(word,))
    task = q.push("a")
    if word == "cancelled":
        q.cancel(task)
    else:
        (q.ack if word == "done" else q.dead_letter)(q.claim("a"))

    q.push("a", added=added)


def test_who_remembers_what_was_done_refuses_nothing_that_was_never_there() -> None:
    def program(q: Calls) -> None:
        q.push("a")
        q.ack(q.claim("a"))
        q.push("b", added=False)

    assert clause_of(program, remembers=("done",)) == "DEDUPE-3"


def test_who_remembers_what_was_done_forgets_what_died() -> None:
    def program(q: Calls) -> None:
        q.push("a")
        q.dead_letter(q.claim("a"))
        q.push("a", added=False)

    assert clause_of(program, remembers=("done",)) == "DEDUPE-7"


def test_what_was_redriven_may_have_another_id() -> None:
    q = Calls()
    task = q.push("a", id="1")
    q.dead_letter(q.claim("a", id="1"))
    q.make("redrive", task, done=True)
    q.make("cancel", task, done=False)

    q.ack(q.claim("a", id="2"))
    assert task.id == "2"


def test_what_was_redriven_has_another_id_once() -> None:
    def program(q: Calls) -> None:
        task = q.push("a", id="1")
        q.dead_letter(q.claim("a", id="1"))
        q.make("redrive", task, done=True)
        q.release(q.claim("a", id="2"))
        q.claim("a", id="3")

    assert clause_of(program) == "DELIVER-2"


def test_whether_a_dead_task_whose_id_another_has_now_is_still_there_is_open() -> None:
    calls = Calls()
    calls.push("a", id="a")
    calls.dead_letter(calls.claim("a"))
    assert calls.model.counts(calls.at) == {"scheduled": 0, "ready": 0, "leased": 0, "dead": 1}

    calls.push("a", id="a")

    assert calls.model.counts(calls.at) is None


def test_a_task_may_be_set_aside_whose_one_lease_ended_twice() -> None:
    """Where ends of leases are counted: it was extended after the first."""
    calls = Calls(max_deliveries=2, counts_release=False)
    calls.push("a")
    hold = calls.claim("a")
    calls.wait(31)
    calls.extend(hold)
    calls.wait(31)
    calls.nothing()


def test_a_lease_that_is_extended_in_time_ended_once_only() -> None:
    calls = Calls(max_deliveries=2, counts_release=False)
    calls.push("a")
    hold = calls.claim("a")
    calls.wait(1)
    calls.extend(hold)
    calls.wait(31)
    with pytest.raises(Mismatch, match="found nothing"):
        calls.nothing()
