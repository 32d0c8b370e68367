"""Random short programs of several clients, each answer compared with the sequential model, and made minimal.

Hypothesis draws the calls and shrinks the failing ones. What is drawn never depends on what the queue answered, and
what is found is kept here as it was seen, so that a queue that fails only sometimes is reported all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from lowq import Item
from lowq_conformance.checker import attribution as blame
from lowq_conformance.checker.model import Model
from lowq_conformance.checker.model_tasks import Mismatch, ModelLease, ModelTask, Overtaken, Span
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.outcomes import ACCIDENTS, NotPromised, Refused
from lowq_conformance.history.spec import Spec
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import Answer, Client, Held
from lowq_conformance.subject.client import field as carried
from lowq_conformance.subject.subject import Subject

WORKS = ["a", "a", "a", "b", "b", "c", {"x": 1, "y": 2}, {"y": 2, "x": 1}, 1, True]
PRIORITIES = [0, 0, 0, 1, 2, -1, 2**31 - 1, -(2**31)]
STATES = ("scheduled", "ready", "leased", "dead")
STEPS = 25
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

works = st.sampled_from(WORKS)
keys = st.sampled_from([None, None, None, None, "k", '"a"'])
priorities = st.sampled_from(PRIORITIES)
times = st.sampled_from(["now", "now", "now", "past", "soon", "later"])
indexes = st.integers(0, 5)


@dataclass(slots=True)
class Finding:
    """A clause that is broken, the sentence that says by what, and the shortest program seen that shows it."""

    clause: str
    said: str
    program: str
    calls: int


@dataclass(slots=True)
class ProgramSearch:
    """One queue, the model's view of its promises, and what was found out about it so far."""

    subject: Subject
    folder: Path
    spec: Spec
    ids: bool
    ends: float
    shrinking: float
    found: dict[int, Finding] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        """The time to look for a fault is over, or, once there is one, the time to make it small."""
        return time.monotonic() > self.ends

    def keep(self, error: Mismatch, subject: Subject) -> None:
        """The program breaks a clause; of those that fail at one place in the model the shortest is kept."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = 0 if trace is None else trace.tb_lineno
        clause = promised(error.clause, subject)
        new = Finding(clause, error.said, subject.journal.program(), len(subject.journal.calls))
        if not self.found:
            self.ends = time.monotonic() + self.shrinking
        known = self.found.get(place)
        if known is None or (new.calls, len(new.program)) < (known.calls, len(known.program)):
            self.found[place] = new


class Spent(BaseException):
    """The time is over; no Exception, so that Hypothesis lets it through."""


class QueueMachine(RuleBasedStateMachine):
    """Clients of one place and the model beside them; a subclass names the `search`."""

    search: ClassVar[ProgramSearch]

    def __init__(self) -> None:
        super().__init__()
        if self.search.spent:
            raise Spent
        self.subject = self.search.subject.fresh()
        self.promises = self.subject.promises
        self.traits = self.subject.traits
        self.waits = self.subject.can_pass_time
        self.lease = max(30 * SECOND, self.traits.shortest_lease) if self.waits else HOUR
        self.model = Model(self.search.spec)
        self.clients: list[Client] = []
        self.leases: list[tuple[Client, Held, ModelLease]] = []
        self.pushes = 0
        self.answering: set[str] = set()
        """The verbs that have said what they did."""
        self.failed = False
        self.place = Path(mkdtemp(dir=self.search.folder)).resolve()
        self.start = self.subject.now(self.place)
        self.clients.append(self.subject.open(self.place))

    # the calls

    @rule(who=indexes, work=works, key=keys, priority=priorities, when=times)
    def push(self, who: int, work: Any, key: str | None, priority: int, when: str) -> None:
        """One work is pushed."""
        item = self._item(work, key, priority, when)
        if self._ambiguous(item.work):
            return
        client = self._client(who)
        with self._judged():
            try:
                at, answer = self._timed(
                    lambda: client.push(item.work, key=item.key, priority=item.priority, not_before=item.not_before)
                )
            except Refused:
                if item.priority == 0:
                    raise
                self.model.refuse(item.work, "INPUT-2")  # that it refuses this priority is for ORDER-5 to say
                return
            self.model.push(at, **self._told(item, answer, client))

    @precondition(lambda self: "batch" in self.promises)
    @rule(who=indexes, items=st.lists(st.tuples(works, keys, priorities, times), max_size=3), spoiled=st.booleans())
    def push_many(self, who: int, items: list[tuple[Any, str | None, int, str]], spoiled: bool) -> None:
        """Several works are pushed as one; where one of them is not JSON, none is kept."""
        batch = [self._item(*item) for item in items]
        if any(self._ambiguous(item.work) for item in batch):
            return
        client = self._client(who)
        with self._judged():
            if spoiled and "json" in self.promises:
                self._refused_batch(client, batch)
                return
            at, answers = self._timed(lambda: client.push_many(batch))
            if answers is None:
                answers = [Answer() for _ in batch]
            if len(answers) != len(batch):
                raise Mismatch("BATCH-1", f"a batch of {len(batch)} got {len(answers)} answers")
            told = [self._told(item, answer, client) for item, answer in zip(batch, answers, strict=True)]
            self.model.push_many(at, told)

    @rule(who=indexes)
    def claim(self, who: int) -> None:
        """One client asks for a task."""
        with self._judged():
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
        client, dead = self._client(who), self._named(which, "dead")
        if dead is not None and client.has("redrive"):
            self._by_id(dead, client.redrive, self.model.redrive, self._redriven)

    @precondition(lambda self: "cancel" in self.promises)
    @rule(who=indexes, which=indexes)
    def cancel(self, who: int, which: int) -> None:
        """A task is no longer wanted."""
        task = self._named(which)
        if task is not None:
            self._by_id(task, self._client(who).cancel, self.model.cancel, self._cancelled)

    @precondition(lambda self: "inspect" in self.promises)
    @rule(who=indexes)
    def count(self, who: int) -> None:
        """The tasks in each state are counted."""
        client = self._client(who)
        with self._judged():
            at, found = self._timed(client.count)
            expected = self.model.counts(at)
            if expected is not None and any(found[state] != expected[state] for state in STATES if state in found):
                raise Mismatch(self._miscounted(), f"count() said {found}", f"{expected}")

    @precondition(lambda self: "inspect" in self.promises)
    @rule(who=indexes)
    def tasks(self, who: int) -> None:
        """The tasks are listed."""
        client = self._client(who)
        with self._judged():
            at, listed = self._timed(client.tasks)
            if self.model.counts(at) is None:
                return
            states = all(carried(task, "state") in STATES for task in listed)  # else in words of its own, or none
            found = sorted(described(carried(task, "work"), carried(task, "state"), states) for task in listed)
            kept = [(task, self.model.state(task, at)) for task in self.model.tasks]
            expected = sorted(described(task.work, state, states) for task, state in kept if state is not None)
            if found != expected:
                raise Mismatch(self._miscounted(), f"tasks() lists {', '.join(found)}", ", ".join(expected) or "[]")
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
        """Another client comes."""
        if len(self.clients) == 3:
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
            self.model.reopened()
            self.clients.append(self.subject.open(self.place))

    def teardown(self) -> None:
        """At the end everything that is left comes out, and then nothing."""
        try:
            if not self.failed:
                with self._judged():
                    self._drain()
        finally:
            self.subject.close()

    # how the calls are made and judged

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """A refusal where none is provided for, or an answer that the model has not, is a finding."""
        try:
            try:
                yield
            except Refused as refused:
                raise Mismatch("DELIVER-1", f"{refused}", "no error") from None
        except Mismatch as error:
            self.failed = True
            self.subject.journal.expected(error.expected)
            self.search.keep(error, self.subject)
            raise

    def _timed(self, call: Callable[[], Any]) -> tuple[Span, Any]:
        """When, in microseconds since the start, and what was answered."""
        begin = self.subject.now(self.place)
        answer = call()
        return Span(micros(begin - self.start), micros(self.subject.now(self.place) - self.start)), answer

    def _settle(self, hold: ModelLease, call: Callable[[], Any], model: Callable[..., None]) -> None:
        """A settle is made and judged, where its outcome was promised."""
        now = micros(self.subject.now(self.place) - self.start)
        if "fenced" not in self.promises and self.model.held(hold, Span(now, now)) is not True:
            return

        def taken() -> bool:
            try:
                call()
            except Refused:
                return False
            return True

        with self._judged():
            at, answer = self._timed(taken)
            model(at, hold, taken=answer)

    def _by_id(
        self,
        task: ModelTask,
        call: Callable[[Any], bool | None],
        model: Callable[..., None],
        foreseen: Callable[[ModelTask, Span], bool | None],
    ) -> None:
        """A verb on the task of an id is called and judged; by raising, it says no.

        One that does not say what it did is not called where what it does is left open.
        """
        now = micros(self.subject.now(self.place) - self.start)
        expected = foreseen(task, Span(now, now))
        if expected is None and call.__name__ not in self.answering:
            return

        def said() -> bool | None:
            try:
                return call(task.id)
            except Refused as refused:
                if isinstance(refused.cause, ACCIDENTS):
                    raise
                return False

        with self._judged():
            at, done = self._timed(said)
            if done is None:
                done = expected
            else:
                self.answering.add(call.__name__)
            model(at, task, done=done)

    def _redriven(self, task: ModelTask, at: Span) -> bool | None:
        """Whether a redrive would do it; None where that is open."""
        sure, perhaps = self.model.blockers(task.equal, at)
        return None if task.state == "dead" and sure != perhaps else task.state == "dead" and not sure

    def _cancelled(self, task: ModelTask, at: Span) -> bool | None:
        """Whether a cancel would do it; None where that is open."""
        free = self.model.free(task, at)
        return None if task.state == "dead" or free != self.model.maybe_free(task, at) else free

    def _claim(self, client: Client) -> bool:
        """Whether there was a task; judged either way."""
        at, held = self._timed(lambda: client.claim(lease_for=self.lease))
        if held is None and "prompt" not in self.promises and self.model.must_come(at):
            ends = time.monotonic() + self.traits.patience.total_seconds()
            while held is None and time.monotonic() < ends:
                at, held = self._timed(lambda: client.claim(lease_for=self.lease))
        if held is None:
            self._found_nothing(client, at)
            return False
        try:
            hold = self.model.claim(
                at,
                held.work,
                id=held.id if self.search.ids else None,
                attempts=None if self.promises.isdisjoint({"lease", "release"}) else held.attempts,
                lease_for=micros(self.lease) if "lease" in self.promises else None,
                client=client.label,
            )
        except Overtaken as error:
            self.subject.journal.expected(error.expected)
            self._still_comes(client, at, error)
            raise
        self.leases.append((client, held, hold))
        return True

    def _still_comes(self, client: Client, at: Span, error: Overtaken) -> None:
        """Raise where the task that was passed over does not come later either: it is not late but lost."""
        for _ in self.model.tasks:
            held = client.claim(lease_for=self.lease)
            if held is None:
                self.model.claim_nothing(at)
            elif work_text(held.work) == work_text(error.first.work):
                return

    def _found_nothing(self, client: Client, at: Span) -> None:
        """An empty answer is judged; a false one is a lost task, unless the next claim has it."""
        try:
            self.model.claim_nothing(at)
        except Mismatch as error:
            if error.clause == "DELIVER-1" and "prompt" in self.promises:
                self.subject.journal.expected(error.expected)
                if client.claim(lease_for=self.lease) is not None:
                    raise Mismatch("DELIVER-6", f"{error.said}; the next claim had it") from None
            raise

    def _refused_batch(self, client: Client, batch: list[Item]) -> None:
        try:
            client.push_many([*batch, Item(float("nan"))])
        except Refused:
            for item in batch:
                self.model.refuse(item.work, "BATCH-1")
        else:
            raise Mismatch("INPUT-1", "a batch with NaN in it was taken", "a refusal")

    def _carries(self, listed: Any) -> None:
        """A listed task says what the model says of its key, priority and attempts, and a dead one of its reason.

        What becomes of a reason later is nobody's promise.
        """
        for task in self.model.tasks:
            if task.id is None or task.id != carried(listed, "id") or not (task.standing or task.state == "dead"):
                continue
            for word in self._told_of(task):
                found, expected = carried(listed, word), getattr(task, word)
                if found is not None and found != expected and not (word == "reason" and str(expected) in str(found)):
                    said = f"tasks() says of {task}: {word} {found!r}"
                    raise Mismatch(blame.carried(task), said, f"{word} {expected!r}")

    def _told_of(self, task: ModelTask) -> list[str]:
        """What a listing tells of the task in the contract's sense: of what is not promised it may tell anything."""
        words: list[str] = [word for word in ("key", "priority") if word in self.promises]
        if not self.promises.isdisjoint({"lease", "release"}):
            words.append("attempts")
        return [*words, "reason"] if task.state == "dead" else words

    def _miscounted(self) -> str:
        """The clause that a wrong count or listing breaks."""
        return self.model.refused[-1][1] if self.model.refused else "DELIVER-10"

    def _drain(self) -> None:
        client = self.clients[0]
        if self.waits and {"lease", "not_before"} & self.promises:
            self.subject.pass_time(self.place, 4 * self.lease + self.traits.grace)
        for _ in range(len(self.model.tasks) + 2):
            if not self._claim(client):
                return

    # what the draws mean here

    def _client(self, who: int) -> Client:
        return self.clients[who % len(self.clients)]

    def _lease(self, which: int) -> tuple[Client, Held, ModelLease]:
        return self.leases[which % len(self.leases)]

    def _named(self, which: int, state: str | None = None) -> ModelTask | None:
        """One of the tasks whose ids are known, in that state where there are such."""
        latest = {task.id: task for task in self.model.tasks if task.id is not None}
        named = list(latest.values())  # whoever has the id now
        wanted = [task for task in named if task.state == state] or named
        return wanted[which % len(wanted)] if wanted else None

    def _let_go(self, client: Client) -> None:
        client.close()
        self.clients.remove(client)
        self.leases = [lease for lease in self.leases if lease[0] is not client]

    def _ambiguous(self, work: Any) -> bool:
        """Without ids an equal work beside a leased one could not be told from it when it comes out."""
        return (
            not self.search.ids
            and self.search.spec.dedupe == "until_claimed"
            and any(
                work_text(task.work) == work_text(work) for task in self.model.tasks if task.standing and task.hold
            )
        )

    def _item(self, work: Any, key: str | None, priority: int, when: str) -> Item:
        """What is pushed, as far as it is promised; works differ where nothing else would tell tasks apart."""
        if not self.search.ids:
            key = None
            if self.search.spec.dedupe == "off":
                self.pushes += 1
                work = f"work {self.pushes}"
        return Item(
            work,
            key if "key" in self.promises else None,
            priority if "priority" in self.promises else 0,
            self._instant(when),
        )

    def _instant(self, when: str) -> datetime | None:
        """A not-before; where nothing but waiting helps, one that never comes."""
        if when == "now" or "not_before" not in self.promises:
            return None
        far = HOUR if self.traits.max_delay is None else min(HOUR, self.traits.max_delay)
        length = {"past": -60 * SECOND, "soon": 5 * SECOND, "later": self.lease}[when]
        if length > 0 * SECOND:
            length = min(length, far) if self.waits else far
        return self.subject.now(self.place) + length

    def _number(self, instant: datetime | None) -> int | None:
        return None if instant is None else micros(instant - self.start)

    def _told(self, item: Item, answer: Answer, client: Client) -> dict[str, Any]:
        """A push and its answer in the words of the model."""
        return {
            "work": item.work,
            "equal": ("work", work_text(item.work)) if item.key is None else ("key", item.key),
            "key": item.key,
            "priority": item.priority,
            "not_before": self._number(item.not_before),
            "added": answer.added,
            "id": answer.id if self.search.ids else None,
            "client": client.label,
        }


def promised(clause: str, subject: Subject) -> str:
    """The clause, or where the queue does not promise it, the plainer one that its words are a case of."""
    while CLAUSES[clause].missing(subject.promises, subject.traits) is not None:
        clause = {"ORDER-2": "ORDER-1", "ORDER-8": "ORDER-1", "LEASE-7": "LEASE-1", "LEASE-10": "LEASE-1"}.get(
            clause, "DELIVER-1"
        )
    return clause


def described(work: Any, state: Any, states: bool) -> str:
    """A task of a listing in words, with its state where the listing tells those of the contract."""
    return f"{work_text(work)} {state}" if states else work_text(work)


def micros(length: timedelta) -> int:
    """Whole microseconds."""
    return length // timedelta(microseconds=1)


def spec_of(subject: Subject) -> Spec:
    """The promises and traits of a queue in the words of the model."""
    promises, traits = subject.promises, subject.traits
    loose = timedelta(0) if subject.knows_now else SECOND
    return Spec(
        dedupe=traits.dedupe,
        fifo="fifo" in promises,
        priority="priority" in promises,
        due_order=traits.due_order,
        requeue=traits.requeue,
        grace=micros(traits.grace),
        eps=micros(traits.resolution + loose),
    )


def explore(
    subject: Subject,
    folder: Path,
    number: int,
    *,
    seconds: float = 30.0,
    shrinking: float = 5.0,
    examples: int = 60,
) -> Finding | None:
    """What random programs, drawn from seed `number`, find wrong with the queue: the shortest of them, or None.

    The number of programs bounds the search, so that a seed finds the same on a busy machine; `seconds` is for queues
    that make one wait. When something was found, it is made small for `shrinking` seconds at most.
    """
    if subject.only_pushes:
        raise NotPromised("its own worker claims, one task after the other")
    ids = _tells_ids(subject, folder)
    search = ProgramSearch(subject, folder, spec_of(subject), ids, time.monotonic() + seconds, shrinking)
    machine = seed(number)(type("Machine", (QueueMachine,), {"search": search}))
    set_hypothesis_home_dir(folder)  # it would leave a folder where the user stands
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                database=None,
                deadline=None,
                max_examples=examples,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
                verbosity=Verbosity.quiet,
                print_blob=False,
                report_multiple_bugs=False,
            ),
        )
    except (Mismatch, Flaky, ExceptionGroup, Spent):
        if not search.found and not search.spent:
            raise
    finally:
        set_hypothesis_home_dir(None)
    return min(search.found.values(), key=lambda found: (found.calls, len(found.program)), default=None)


def _tells_ids(subject: Subject, folder: Path) -> bool:
    """Whether both push and claim say which task it is."""
    pilot = subject.fresh()
    try:
        client = pilot.open(Path(mkdtemp(dir=folder)).resolve())
        answer = client.push("a")
        held = client.claim()
        return held is not None and None not in (answer.id, held.id) and answer.id == held.id
    finally:
        pilot.close()
