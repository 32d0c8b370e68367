"""Random short programs of several clients, each answer compared with the sequential model, and made minimal.

Hypothesis draws the calls and shrinks the failing ones. What is drawn never depends on what the queue answered, and
what is found is kept here as it was seen, so that a queue that fails only sometimes is reported all the same.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from lowq_conformance.cases.judged_calls import SECOND, JudgedCalls, describe, micros
from lowq_conformance.checker.model_tasks import Mismatch
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.answers import field as carried

WORKS = ["a", "a", "a", "b", "b", "c", {"x": 1, "y": 2}, {"y": 2, "x": 1}, 1, True]
PRIORITIES = [0, 0, 0, 1, 2, -1, 2**31 - 1, -(2**31)]
STATES = ("scheduled", "ready", "leased", "dead")

works = st.sampled_from(WORKS)
keys = st.sampled_from([None, None, None, None, "k", '"a"'])
priorities = st.sampled_from(PRIORITIES)
times = st.sampled_from(["now", "now", "now", "past", "soon", "later"])
indexes = st.integers(0, 5)


class QueueMachine(JudgedCalls, RuleBasedStateMachine):
    """The calls that Hypothesis draws, as rules; a subclass names the `search`."""

    # the calls

    @rule(who=indexes, work=works, key=keys, priority=priorities, when=times)
    def push(self, who: int, work: Any, key: str | None, priority: int, when: str) -> None:
        """One work is pushed."""
        item = self._item(work, key, priority, when)
        if self._ambiguous(item.work):
            return
        client = self._client(who)
        with self._judge():
            try:
                at, answer = self._time(
                    lambda: client.push(item.work, key=item.key, priority=item.priority, not_before=item.not_before)
                )
            except Refused as refusal:
                if item.priority == 0 and not refusal.stated:
                    raise
                self.model.refuse(item.work, "INPUT-2")  # that it refuses this priority is for ORDER-5 to say
                return
            self.model.push(at, **self._describe_push(item, answer, client))

    @precondition(lambda self: "batch" in self.promises)
    @rule(who=indexes, items=st.lists(st.tuples(works, keys, priorities, times), max_size=3), spoiled=st.booleans())
    def push_many(self, who: int, items: list[tuple[Any, str | None, int, str]], spoiled: bool) -> None:
        """Several works are pushed as one; where one of them is not JSON, none is kept."""
        batch = [self._item(*item) for item in items]
        if any(self._ambiguous(item.work) for item in batch):
            return
        client = self._client(who)
        with self._judge():
            if spoiled and "json" in self.promises:
                self._push_bad_batch(client, batch)
                return
            try:
                at, answers = self._time(lambda: client.push_many(batch))
            except Refused as refusal:
                if not refusal.stated:
                    raise
                for item in batch:
                    self.model.refuse(item.work, "BATCH-1")
                return
            if answers is None:
                answers = [Answer() for _ in batch]
            if len(answers) != len(batch):
                raise Mismatch("BATCH-1", f"a batch of {len(batch)} got {len(answers)} answers")
            told = [self._describe_push(item, answer, client) for item, answer in zip(batch, answers, strict=True)]
            self.model.push_many(at, told)

    @rule(who=indexes)
    def claim(self, who: int) -> None:
        """One client asks for a task."""
        with self._judge():
            self._claim(self._client(who))

    @rule(which=indexes)
    def ack(self, which: int) -> None:
        """A task is done."""
        if not self.leases:
            self.claim(which)
            return
        client, held, hold = self._lease(which)
        self._settle(hold, lambda: client.ack(held), self.model.ack)

    @precondition(lambda self: "release" in self.promises)
    @rule(which=indexes, when=times)
    def release(self, which: int, when: str) -> None:
        """A task is given back."""
        if not self.leases:
            self.claim(which)
            return
        client, held, hold = self._lease(which)
        not_before = self._instant(when) if client.takes("release", "not_before") else None
        self._settle(
            hold,
            lambda: client.release(held, not_before=not_before),
            lambda at, hold, taken: self.model.release(at, hold, not_before=self._number(not_before), taken=taken),
        )

    @precondition(lambda self: "extend" in self.promises)
    @rule(which=indexes)
    def extend(self, which: int) -> None:
        """A lease is made longer."""
        if not self.leases:
            self.claim(which)
            return
        client, held, hold = self._lease(which)

        def call() -> None:
            longer = client.extend(held, lease_for=self.lease)
            self.leases[self.leases.index((client, held, hold))] = (client, longer, hold)

        self._settle(hold, call, lambda at, hold, taken: self.model.extend(at, hold, micros(self.lease), taken=taken))

    @precondition(lambda self: "dead_letter" in self.promises)
    @rule(which=indexes)
    def dead_letter(self, which: int) -> None:
        """A task is set aside."""
        if not self.leases:
            self.claim(which)
            return
        client, held, hold = self._lease(which)
        self._settle(
            hold,
            lambda: client.dead_letter(held, reason="no"),
            lambda at, hold, taken: self.model.dead_letter(at, hold, reason="no", taken=taken),
        )

    @precondition(lambda self: "dead_letter" in self.promises)
    @rule(who=indexes, which=indexes)
    def redrive(self, who: int, which: int) -> None:
        """A dead task is to wait again."""
        client, dead = self._client(who), self._choose_named(which, "dead")
        if dead is not None and client.has("redrive"):
            self._by_id(dead, client.redrive, self.model.redrive, self._redriven)

    @precondition(lambda self: "cancel" in self.promises)
    @rule(who=indexes, which=indexes)
    def cancel(self, who: int, which: int) -> None:
        """A task is no longer wanted."""
        task = self._choose_named(which)
        if task is not None:
            self._by_id(task, self._client(who).cancel, self.model.cancel, self._expect_cancel)

    @precondition(lambda self: "inspect" in self.promises)
    @rule(who=indexes)
    def count(self, who: int) -> None:
        """The tasks in each state are counted."""
        client = self._client(who)
        with self._judge():
            at, found = self._time(client.count)
            expected = self.model.counts(at)
            if expected is not None and any(found[state] != expected[state] for state in STATES if state in found):
                raise Mismatch(self._blame_count(), f"count() said {found}", f"{expected}")

    @precondition(lambda self: "inspect" in self.promises)
    @rule(who=indexes)
    def tasks(self, who: int) -> None:
        """The tasks are listed."""
        client = self._client(who)
        with self._judge():
            at, listed = self._time(client.tasks)
            if self.model.counts(at) is None:
                self._judge_listed_works(listed)
                return
            states = all(carried(task, "state") in STATES for task in listed)  # else in words of its own, or none
            found = sorted(describe(carried(task, "work"), carried(task, "state"), states) for task in listed)
            kept = [(task, self.model.state(task, at)) for task in self.model.tasks]
            expected = sorted(describe(task.work, state, states) for task, state in kept if state is not None)
            if found != expected and not self._lists_what_is_counted(client, listed):
                raise Mismatch(self._blame_count(), f"tasks() lists {', '.join(found)}", ", ".join(expected) or "[]")
            for each in listed:
                self._carries(each)

    @precondition(lambda self: self.waits)
    @rule(by=st.sampled_from(["a bit", "nearly a lease", "a lease", "more than a lease"]))
    def pass_time(self, by: str) -> None:
        """Time passes for everybody."""
        length = {
            "a bit": 6 * SECOND,
            "nearly a lease": self.lease - SECOND,
            "a lease": self.lease,
            "more than a lease": self.lease + self.traits.grace + SECOND,
        }[by]
        self.subject.pass_time(self.place, length)

    @rule()
    def open(self) -> None:
        """Another client comes, where that ends nobody's lease."""
        held = any(task.state == "leased" for task in self.model.tasks)
        if len(self.clients) == 3 or (held and "shared_lease" not in self.promises):
            return
        self.clients.append(self.subject.open(self.place))
        self.model.client_came_or_went()

    @precondition(lambda self: "close" in self.promises)
    @rule(who=indexes)
    def close(self, who: int) -> None:
        """A client goes; what it holds it holds."""
        client = self._client(who)
        holds = any(lease[0] is client for lease in self.leases)
        if len(self.clients) > 1 and ("shared_lease" in self.promises or not holds):
            self._let_go(client)
            self.model.client_came_or_went()

    @precondition(lambda self: {"persistent", "close"} <= self.promises)
    @rule()
    def reopen(self) -> None:
        """All clients go, and a new one comes."""
        if "shared_lease" in self.promises or not self.leases:
            for client in list(self.clients):
                self._let_go(client)
            self.model.reopen()
            self.clients.append(self.subject.open(self.place))

    def teardown(self) -> None:
        """At the end everything that is left comes out, and then nothing."""
        try:
            if not self.failed:
                with self._judge():
                    self._drain()
        finally:
            self.subject.close()
