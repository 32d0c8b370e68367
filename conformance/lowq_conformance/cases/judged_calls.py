"""Calls to a queue and to the sequential model beside it, each answer compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

from lowq import Item
from lowq_conformance.cases.findings import ProgramSearch, Spent
from lowq_conformance.checker import attribution
from lowq_conformance.checker.model import Model
from lowq_conformance.checker.model_tasks import Mismatch, ModelLease, ModelTask, Overtaken, Span
from lowq_conformance.contract.outcomes import ACCIDENTS, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.answers import field as carried
from lowq_conformance.subject.client import Client, Held
from lowq_conformance.support.asking import ask_again

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class JudgedCalls:
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
        self.lease = self.subject.lease(max(30 * SECOND, self.traits.shortest_lease) if self.waits else HOUR)
        dies = "dead_letter" in self.promises
        self.model = Model(self.search.spec, self.traits.redriven, self.traits.remembers, keeps_dead=dies)
        self.clients: list[Client] = []
        self.leases: list[tuple[Client, Held, ModelLease]] = []
        self.pushes = 0
        self.answering: set[str] = set()
        """The verbs that have said what they did."""
        self.failed = False
        self.place = Path(mkdtemp(dir=self.search.folder)).resolve()
        self.start = self.subject.now(self.place)
        self.clients.append(self.subject.open(self.place))

    # how the calls are made and judged

    @contextmanager
    def _judge(self) -> Iterator[None]:
        """A refusal where none is provided for, or an answer that the model has not, is a finding."""
        try:
            try:
                yield
            except Refused as refused:
                raise Mismatch("DELIVER-1", f"{refused}", "no error") from None
        except Mismatch as error:
            self.failed = True
            self.subject.journal.expect(error.expected)
            self.search.keep(error, self.subject)
            raise

    def _time(self, call: Callable[[], Any]) -> tuple[Span, Any]:
        """When, in microseconds since the start, and what was answered."""
        begin = self.subject.now(self.place)
        answer = call()
        return Span(micros(begin - self.start), micros(self.subject.now(self.place) - self.start)), answer

    def _settle(self, hold: ModelLease, call: Callable[[], Any], model: Callable[..., None]) -> None:
        """A settle is made and judged, where its outcome was promised.

        It was not where its client has claimed the task again since, and settles by the task, as beanstalkd's do.
        """
        latest = hold.task.hold
        if latest is not None and latest is not hold and not latest.settled and latest.client == hold.client:
            return
        now = micros(self.subject.now(self.place) - self.start)
        if "fenced" not in self.promises and self.model.expect_settle(hold, Span(now, now)) is not True:
            return

        def taken() -> bool:
            try:
                call()
            except Refused:
                return False
            return True

        with self._judge():
            at, answer = self._time(taken)
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

        def ask() -> bool | None:
            try:
                return call(task.id)
            except Refused as refused:
                if isinstance(refused.cause, ACCIDENTS):
                    raise
                return False

        with self._judge():
            at, done = self._time(ask)
            if done is None:
                done = expected
            else:
                self.answering.add(call.__name__)
            model(at, task, done=done)

    def _redriven(self, task: ModelTask, at: Span) -> bool | None:
        """Whether a redrive would do it; None where that is open."""
        sure, perhaps = self.model.blockers(task.equal, at, task)
        if task.state != "dead":
            return None if task.standing and self.model.maybe_aside(task, at) else False
        return None if sure != perhaps or (sure and self.traits.redriven == "any") else not sure

    def _expect_cancel(self, task: ModelTask, at: Span) -> bool | None:
        """Whether a cancel would do it; None where that is open."""
        free = self.model.free(task, at)
        return None if task.state == "dead" or task.renamed or free != self.model.maybe_free(task, at) else free

    def _claim(self, client: Client) -> bool:
        """Whether there was a task; judged either way."""
        at, held = self._time(lambda: client.claim(lease_for=self.lease))
        if held is None and "prompt" not in self.promises and self.model.must_come(at):
            again = ask_again(self.traits.patience.total_seconds())
            while held is None and next(again, False):
                at, held = self._time(lambda: client.claim(lease_for=self.lease))
        if held is None:
            self._judge_empty(client, at)
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
            self.subject.journal.expect(error.expected)
            self._still_comes(client, at, error)
            raise
        self.leases.append((client, held, hold))
        return True

    def _still_comes(self, client: Client, at: Span, error: Overtaken) -> None:
        """Raise where the task that was passed over does not come later either: it is not late but lost."""
        for _ in self.model.tasks:
            held = client.claim(lease_for=self.lease)
            if held is None:
                if not self._serves_nobody(at):
                    self.model.claim_nothing(at)
            elif work_text(held.work) == work_text(error.first.work):
                return

    def _serves_nobody(self, at: Span) -> bool:
        """Whether one task at a time is handed out, and one may be in hand."""
        tasks = self.model.tasks
        return self.traits.one_at_a_time and any(t.state == "leased" and not self.model.free(t, at) for t in tasks)

    def _judge_empty(self, client: Client, at: Span) -> None:
        """An empty answer is judged; a false one is a lost task, unless the next claim has it."""
        if self._serves_nobody(at):
            return
        try:
            self.model.claim_nothing(at)
        except Mismatch as error:
            if error.clause == "DELIVER-1" and "prompt" in self.promises:
                self.subject.journal.expect(error.expected)
                if client.claim(lease_for=self.lease) is not None:
                    raise Mismatch("DELIVER-6", f"{error.said}; the next claim had it") from None
            raise

    def _push_bad_batch(self, client: Client, batch: list[Item]) -> None:
        try:
            client.push_many([*batch, Item(float("nan"))])
        except Refused:
            for item in batch:
                self.model.refuse(item.work, "BATCH-1")
        else:
            raise Mismatch("INPUT-1", "a batch with NaN in it was taken", "a refusal")

    def _lists_what_is_counted(self, client: Client, listed: list[Any]) -> bool:
        """Whether only works are missing in the listing that are in states which the queue does not count."""
        at, counts = self._time(client.count)
        kept = [(work_text(task.work), self.model.state(task, at)) for task in self.model.tasks]
        told = Counter(work for work, state in kept if state in (counts or ()))
        every = Counter(work for work, state in kept if state is not None)
        return told <= Counter(work_text(carried(task, "work")) for task in listed) <= every and told != every

    def _carries(self, listed: Any) -> None:
        """A listed task says what the model says of its key, priority and attempts, and a dead one of its reason.

        What becomes of a reason later is nobody's promise.
        """
        for task in self.model.tasks:
            if task.id is None or task.id != carried(listed, "id") or not (task.standing or task.state == "dead"):
                continue
            for word in self._read_listing(task):
                found, expected = carried(listed, word), getattr(task, word)
                if found is not None and found != expected and not (word == "reason" and str(expected) in str(found)):
                    said = f"tasks() says of {task}: {word} {found!r}"
                    raise Mismatch(attribution.blame_carried(task), said, f"{word} {expected!r}")

    def _read_listing(self, task: ModelTask) -> list[str]:
        """What a listing tells of the task in the contract's sense: of what is not promised it may tell anything."""
        words: list[str] = [word for word in ("key", "priority") if word in self.promises]
        if self.model.spent(task):
            return words  # the queue may have claimed it once more, and sets it aside for a reason of its own
        if not self.promises.isdisjoint({"lease", "release"}):
            words.append("attempts")
        return [*words, "reason"] if task.state == "dead" else words

    def _judge_listed_works(self, listed: list[Any]) -> None:
        """What was handed out too often is listed in whichever state, unless what is set aside need not be kept."""
        if not any(self.model.spent(task) for task in self.model.tasks):
            return
        found = Counter(work_text(carried(task, "work")) for task in listed)
        kept = [task for task in self.model.tasks if task.standing or task.state == "dead"]
        sure = [task for task in kept if self.model.keeps_dead or not self.model.spent(task)]
        for task in sure:
            if Counter(work_text(each.work) for each in sure)[work_text(task.work)] > found[work_text(task.work)]:
                clause = "DEAD-2" if self.model.spent(task) else self._blame_count()
                raise Mismatch(clause, f"tasks() does not list {task}", f"{task}, dead or not")

    def _blame_count(self) -> str:
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

    def _choose_named(self, which: int, state: str | None = None) -> ModelTask | None:
        """One of the tasks whose ids are known, in that state where there are such."""
        latest = {task.id: task for task in self.model.tasks if task.id is not None}
        replaced = {task.id for task in self.model.tasks if task.state == "replaced"}
        # Whoever has the id now; when that is gone, it may be the dead one's again.
        named = [task for task in latest.values() if task.standing or task.id not in replaced]
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
            self.clients[0].key(work, key if "key" in self.promises else None),
            self.traits.bound_priority(priority) if "priority" in self.promises else 0,
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

    def _describe_push(self, item: Item, answer: Answer, client: Client) -> dict[str, Any]:
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


def describe(work: Any, state: Any, states: bool) -> str:
    """A task of a listing in words, with its state where the listing tells those of the contract."""
    return f"{work_text(work)} {state}" if states else work_text(work)


def micros(length: timedelta) -> int:
    """Whole microseconds."""
    return length // timedelta(microseconds=1)
