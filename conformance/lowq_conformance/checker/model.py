"""The sequential model: what a queue may answer to one call after another, in one readable class.

It is an acceptor. Each verb is told *when* it was called and *what the queue answered*; an answer that the spec
allows changes the model's tasks, any other raises `Mismatch`, which names the clause whose words are broken. Where a
spec leaves something open (a lease that may have run out, a queue without order), the answer decides it.

Times are numbers of one unit on one clock. An operation acts somewhere in its `Span`, having read the queue's clock
once between its call and its effect; on a clock that stands still, a span is one instant.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from math import inf
from typing import Any, Literal

from lowq_conformance.checker import attribution
from lowq_conformance.checker.model_tasks import Mismatch, ModelLease, ModelTask, Overtaken, Span
from lowq_conformance.history.spec import Spec
from lowq_conformance.history.work_text import work_text


class Model:
    """The tasks of one queue, and which answers it may give."""

    def __init__(
        self,
        spec: Spec,
        redriven: Literal["alone", "any"] = "any",
        remembers: Collection[str] = (),
        *,
        keeps_dead: bool = True,
    ) -> None:
        """`keeps_dead`: what the queue sets aside by itself is dead, and not merely gone."""
        self.spec, self.redriven, self.keeps_dead = spec, redriven, keeps_dead
        self.remembered = {"acked" if word == "done" else word for word in remembers}
        """The states in which a task that has ended may refuse an equal work."""
        self.tasks: list[ModelTask] = []
        self.refused: list[tuple[Any, str]] = []
        self._batches = 0

    # what is true now

    def due(self, task: ModelTask, at: Span) -> bool:
        """The task's time has surely come."""
        return task.not_before is None or task.not_before + self.spec.eps <= at.call

    def maybe_due(self, task: ModelTask, at: Span) -> bool:
        """The task's time may have come."""
        return task.not_before is None or task.not_before - self.spec.eps <= at.ret

    def spent(self, task: ModelTask) -> bool:
        """The task was handed out as often as may be: when it comes back it may be set aside."""
        return self.spec.max_deliveries is not None and task.deliveries >= self.spec.max_deliveries

    def maybe_aside(self, task: ModelTask, at: Span) -> bool:
        """The task may have been set aside, since it was handed out too often."""
        return self.spent(task) and self.maybe_free(task, at)

    def free(self, task: ModelTask, at: Span) -> bool:
        """The task is there and nobody can hold it: it waits, or its lease must have ended."""
        if self.spent(task):
            return False
        return task.state == "waiting" or (task.hold is not None and self._held(task) and at.call >= task.hold.late)

    def maybe_free(self, task: ModelTask, at: Span) -> bool:
        """Perhaps nobody holds the task: it waits, or its lease may have ended."""
        return task.state == "waiting" or (task.hold is not None and self._held(task) and at.ret >= task.hold.early)

    def before(self, one: ModelTask, other: ModelTask) -> bool:
        """Where both are due, a claim must take `one` rather than `other`."""
        spec = self.spec
        if spec.priority and one.priority != other.priority:
            return one.priority > other.priority
        if not spec.fifo or (spec.requeue == "any" and (one.returned or other.returned)):
            return False
        if "redriven" in one.past or "redriven" in other.past:  # perhaps as a new task, behind the others
            return False
        if spec.due_order == "push" or (one.not_before is None and other.not_before is None):
            return one.number < other.number
        if spec.due_order is None or one.not_before is None or other.not_before is None:
            return False
        return one.not_before + 2 * spec.eps < other.not_before

    def must_come(self, at: Span) -> list[ModelTask]:
        """The tasks of which an empty answer would be false, the first one first."""
        found = [task for task in self.tasks if self.free(task, at) and self.due(task, at)]
        return sorted(found, key=lambda task: (-task.priority if self.spec.priority else 0, task.number))

    def expect_settle(self, hold: ModelLease, at: Span) -> bool | None:
        """A settle of `hold` must be taken (True), must be refused (False), or may be either (None)."""
        if not hold.settled and hold.task.hold is hold and hold.task.was_set_aside:
            return None
        if hold.settled or hold.task.hold is not hold or not hold.task.standing:
            return False
        return None if self.maybe_free(hold.task, at) else True

    def blockers(
        self, equal: Hashable, at: Span, but: ModelTask | None = None
    ) -> tuple[list[ModelTask], list[ModelTask]]:
        """The tasks that surely refuse an equal push, and those that perhaps do; not that one."""
        if self.spec.dedupe == "off":
            return [], []
        equals = [task for task in self.tasks if task.equal == equal and task is not but]
        standing = [task for task in equals if task.standing]
        ended = [task for task in equals if task.state in self.remembered]
        if self.spec.dedupe == "until_done":
            return [t for t in standing if not self.maybe_aside(t, at)], standing + ended
        return [t for t in standing if self.free(t, at)], [t for t in standing if self.maybe_free(t, at)] + ended

    def counts(self, at: Span) -> dict[str, int] | None:
        """How many tasks are in each state, or None while that is open."""
        found = {"scheduled": 0, "ready": 0, "leased": 0, "dead": 0}
        for task in self.tasks:
            if task.was_set_aside and not self.keeps_dead:
                return None
            if task.state == "replaced":  # whether what had the id before is still there, is open
                return None
            if self.free(task, at) != self.maybe_free(task, at) or self.due(task, at) != self.maybe_due(task, at):
                return None
            if (state := self.state(task, at)) is not None:
                found[state] += 1
        return found

    def state(self, task: ModelTask, at: Span) -> str | None:
        """The task's state in the words of the contract; None where it is gone."""
        if task.state == "dead":
            return "dead"
        if not task.standing:
            return None
        if not self.free(task, at):
            return "leased"
        return "ready" if task.state == "leased" or "ran out" in task.past or self.due(task, at) else "scheduled"

    # the verbs, each with the queue's answer

    def push(
        self,
        at: Span,
        work: Any,
        equal: Hashable,
        *,
        added: bool | None,
        id: str | None = None,
        key: str | None = None,
        priority: int = 0,
        not_before: float | None = None,
        client: str = "",
        batch: int | None = None,
    ) -> ModelTask | None:
        """The work is kept as a new task, which is returned, or an equal one stood; `added` None does not say."""
        sure, perhaps = self.blockers(equal, at)
        new = ModelTask(len(self.tasks), work, equal, priority, not_before, key, id, client, batch)
        if added is None:
            added = not sure
        if added and sure:
            raise Mismatch(*attribution.blame_double_add(new, sure[0]), "not added")
        if not added and not perhaps:
            gone = [task for task in self.tasks if task.equal == equal]
            raise Mismatch(*attribution.blame_refusal(self.spec, new, gone, self.refused), "added")
        if added:
            for task in perhaps:
                if task.state == "waiting" or (task.standing and self.spec.dedupe == "until_done"):
                    self._set_aside(task)
            for task in self.tasks:
                if id is not None and task.id == id and task.state == "dead":
                    task.state = "replaced"  # an id names one task, which is this one from now on
            self.tasks.append(new)
            return new
        if id is not None and not any(task.id in (None, id) or task.renamed for task in perhaps):
            raise Mismatch(*attribution.blame_wrong_id(new, perhaps[0]), f"the id {perhaps[0].id}")
        if not sure and len(perhaps) == 1 and self.spec.dedupe == "until_claimed":
            self._run_out(perhaps[0])
        for task in perhaps:
            task.past.add("refused a duplicate")
        return None

    def push_many(self, at: Span, items: Iterable[dict[str, Any]]) -> list[ModelTask | None]:
        """All of the items are kept, each as `push` would; an item is the arguments of a push."""
        self._batches += 1
        return [self.push(at, batch=self._batches, **item) for item in items]

    def refuse(self, work: Any, clause: str) -> None:
        """A push of `work` was refused with an error and kept nothing; `clause` is broken if it comes out."""
        self.refused.append((work, clause))

    def claim(
        self,
        at: Span,
        work: Any,
        *,
        id: str | None = None,
        attempts: int | None = None,
        lease_for: float | None = None,
        client: str = "",
    ) -> ModelLease:
        """The queue handed out `work`; `lease_for` None: until it is settled."""
        task = self._find_claimed(at, work, id)
        if task.renamed and id is not None:
            task.id, task.renamed = id, False
        if not self.maybe_free(task, at):
            raise Mismatch(*attribution.blame_taking(task, client), self._first(at))
        if not self.maybe_due(task, at):
            raise Mismatch(*attribution.blame_early_claim(task), self._first(at))
        better = [t for t in self.tasks if t is not task and self._overtaken(t, task, at)]
        if better:
            error = Overtaken(*attribution.blame_order(task, better[0]), self._first(at))
            error.first = better[0]
            raise error
        if task.state == "leased":
            self._run_out(task)
        if task.hold is not None:
            task.hold.past.add("replaced")
        grace = self.spec.grace
        if lease_for is None:
            early = late = inf
        else:
            early = at.call + lease_for - 2 * self.spec.eps
            late = inf if grace is None else at.ret + lease_for + grace + 2 * self.spec.eps
        hold = task.hold = ModelLease(task, early, late, client)
        task.state = "leased"
        task.attempts += 1
        task.deliveries += 1
        task.past.add("claimed")
        told = (task.attempts, task.attempts + task.buried)
        # where the queue set it aside by itself, it has looked at it in a claim that nobody saw
        more = "set aside" in task.past and attempts is not None and attempts > task.attempts
        if attempts is not None and attempts not in told and not more:
            raise Mismatch(*attribution.blame_attempts(task, attempts), f"attempts {task.attempts}")
        return hold

    def claim_nothing(self, at: Span) -> None:
        """The queue said that nothing is due."""
        missing = self.must_come(at)
        if missing:
            waiting = [t for t in self.tasks if t.state == "waiting" and not self.maybe_due(t, at)]
            blocked = any(self.before(task, missing[0]) for task in waiting)
            raise Mismatch(*attribution.blame_false_empty(missing[0], blocked), self._first(at))

    def extend(self, at: Span, hold: ModelLease, lease_for: float, *, taken: bool) -> None:
        """The task is held for `lease_for` from now, or the lease was not its holder's any more."""
        ended = self.maybe_free(hold.task, at)
        if self._settle(at, hold, "extend", taken):
            hold.task.deliveries += ended  # where ends of leases are counted, that was one, and another one comes
            hold.task.state = "leased"
            hold.early = at.call + lease_for - 2 * self.spec.eps
            grace = self.spec.grace
            hold.late = inf if grace is None else at.ret + lease_for + grace + 2 * self.spec.eps
            hold.past.add("extended")

    def ack(self, at: Span, hold: ModelLease, *, taken: bool) -> None:
        """The task is gone, or the lease was not its holder's any more."""
        if self._settle(at, hold, "ack", taken):
            hold.settled = True
            hold.task.state = "acked"

    def release(
        self,
        at: Span,
        hold: ModelLease,
        *,
        not_before: float | None = None,
        reason: str | None = None,
        uncount: bool = False,
        taken: bool,
    ) -> None:
        """The task waits again, from `not_before` on, or the lease was not its holder's any more."""
        task = hold.task
        in_time = not self.maybe_free(task, at)
        if self._settle(at, hold, "release", taken):
            task.deliveries -= in_time and not self.spec.counts_release
            hold.settled = True
            task.state, task.reason = "waiting", reason
            task.attempts -= uncount
            task.past.discard("ran out")
            task.past.add("released")
            if not_before is not None:
                task.not_before = not_before
                task.past.add("released for later")

    def dead_letter(self, at: Span, hold: ModelLease, *, reason: str, taken: bool) -> None:
        """The task is set aside, or the lease was not its holder's any more."""
        if self._settle(at, hold, "dead_letter", taken):
            hold.settled = True
            hold.task.state, hold.task.reason = "dead", reason
            hold.task.past.add("dead")

    def redrive(self, at: Span, task: ModelTask, *, done: bool) -> None:
        """The dead task waits again, or there was none, or a push of its work would be refused."""
        sure, perhaps = self.blockers(task.equal, at, task)
        dead = task.state == "dead"
        aside = task.standing and self.maybe_aside(task, at)
        if done and ((not dead and not aside) or (sure and self.redriven == "alone")):
            why = "an equal work stands" if dead else "it is not dead"
            raise Mismatch("DEAD-3", f"redrive of {task} said True, but {why}", "False")
        if not done and dead and not perhaps:
            raise Mismatch("DEAD-3", f"redrive of {task} said False, but no equal work stands", "True")
        if done:
            if aside:
                self._set_aside(task)
            task.buried += task.attempts
            task.state, task.attempts, task.deliveries = "waiting", 0, 0
            task.not_before, task.renamed = None, True
            task.past.add("redriven")

    def cancel(self, at: Span, task: ModelTask, *, done: bool) -> None:
        """The task is gone, or it was leased, or there was none."""
        if done and not (task.state == "dead" or self.maybe_free(task, at)):
            clause = "CANCEL-2" if task.state == "leased" else "CANCEL-3"
            raise Mismatch(
                clause, f"cancel of {task} said True, but it is {attribution.tell_whereabouts(task)}", "False"
            )
        # What is dead may be another verb's to remove, and what was redriven may be there under another id.
        if not done and task.state != "dead" and self.free(task, at) and not task.renamed:
            where = attribution.tell_whereabouts(task)
            raise Mismatch("CANCEL-3", f"cancel of {task} said False, but it is {where}", "True")
        if done:
            task.state = "cancelled"

    def reopen(self) -> None:
        """Every client was closed and a new one opened."""
        for task in self.tasks:
            task.past.add("reopened")

    def client_came_or_went(self) -> None:
        """A client was opened or closed while others stay."""
        for task in self.tasks:
            if task.hold is not None:
                task.hold.past.add("clients changed")

    # how the verbs decide

    def _first(self, at: Span) -> str:
        """What a claim may answer, in words: the first task that must come."""
        must = self.must_come(at)
        return f"{must[0].work!r}" if must else "None"

    def _held(self, task: ModelTask) -> bool:
        return task.state == "leased" and task.hold is not None

    def _run_out(self, task: ModelTask) -> None:
        if task.state == "leased":
            task.state = "waiting"
            task.past.add("ran out")

    def _set_aside(self, task: ModelTask) -> None:
        """The task was handed out too often, and is dead."""
        task.state = "dead"
        task.past.add("set aside")

    def _overtaken(self, waiting: ModelTask, taken: ModelTask, at: Span) -> bool:
        """`waiting` comes before `taken`, and is due by the one reading of the clock at which `taken` was."""
        reading = max(at.call - self.spec.eps, -inf if taken.not_before is None else taken.not_before)
        due = waiting.not_before is None or waiting.not_before <= reading
        return due and self.free(waiting, at) and self.before(waiting, taken)

    def _settle(self, at: Span, hold: ModelLease, verb: str, taken: bool) -> bool:
        """Whether the settle took effect. Raises Mismatch where it must not, or must."""
        held = self.expect_settle(hold, at)
        if held is not None and held != taken:
            if taken:
                raise Mismatch(*attribution.blame_stale_settle(hold, verb), "a refusal")
            raise Mismatch(*attribution.blame_lost_settle(hold, verb), "no refusal")
        if not taken and held is None:
            self._run_out(hold.task)
        if not taken and hold.task.hold is not None:
            hold.task.hold.past.add("a stale settle was tried")
        return taken

    def _find_claimed(self, at: Span, work: Any, id: str | None) -> ModelTask:
        """The task that was handed out: the one of that id, or else the likeliest of that work."""
        same = [task for task in self.tasks if work_text(task.work) == work_text(work)]
        if id is not None and any(task.id is not None for task in self.tasks):
            named = [task for task in self.tasks if task.id == id]
            named = [task for task in named if task.standing] or named[-1:]  # an id may be given again
            if named and not any(task in same for task in named):
                raise Mismatch("DELIVER-1", f"{named[-1]} was pushed, and came out as {work!r}")
            if not named:
                named = [task for task in same if task.renamed and task.standing]
            if not named and same:
                raise Mismatch(*attribution.blame_strange_id(same[-1]))
            same = [task for task in named if task in same]
        if not same:
            raise Mismatch(*attribution.blame_invention(work, self.refused))
        fit = [task for task in same if self.maybe_free(task, at) and self.maybe_due(task, at)]
        if fit:
            return min(fit, key=lambda t: (not self.due(t, at), -t.priority if self.spec.priority else 0, t.number))
        alive = [task for task in same if task.standing]
        return (alive or same)[-1]
