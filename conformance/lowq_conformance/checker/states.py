"""The sequential model as the search uses it: immutable states, each a tuple of live tasks in claim order.

The same model as `model.Model`, which is the readable one; `tests/conformance/checker` holds the two together. Times
are kept as the earliest at which something can be so, and what is left open there (a lease that may have run out) is
open here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import inf
from typing import NamedTuple, Protocol

from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

ASIDE = -1
"""In the place of the number of claims: the task was set aside, and only its last holder may have a say in it."""

OBSERVERS = ("empty", "dup", "stale")
"""The answers of operations that change nothing, unless a lease must run out for them."""


class Entry(NamedTuple):
    """A live task: its push, the latest unsettled claim or -1, whether it waits, lost its place, and its time;
    whether it stands beside the one before it, their order being open, by when a push must have been called that
    comes to stand beside them, and how many of its claims count for the limit after which it may be set aside."""

    push: int
    hold: int
    waiting: bool
    returned: bool
    due: float
    beside: bool = False
    closes: float = -inf
    taken: int = 0

    @property
    def back(self) -> bool:
        """The task was handed out before, where that tells."""
        return self.returned or self.hold >= 0


State = tuple[Entry, ...]


def first_beside(at: int, state: State) -> int:
    """The first place of those whose order with the one at `at` is open."""
    while state[at].beside:
        at -= 1
    return at


def _apart(state: State) -> State:
    """These tasks beside each other, the first beside none before it."""
    return tuple(each if each.beside is (at > 0) else each._replace(beside=at > 0) for at, each in enumerate(state))


def _close(state: State) -> State:
    """The state with all pushes to come behind these."""
    return tuple(each if each.closes == -inf else each._replace(closes=-inf) for each in state)


class Ahead(Protocol):
    """What is known of the answers to come."""

    def wanted(self, state: State, at: int, claim: int) -> bool:
        """That unknown claim may take the task at that place to some purpose."""

    def settled(self, hold: int) -> bool:
        """No settle of that claim is to come."""

    def kept(self, hold: int) -> bool:
        """A settle of that claim is still to be taken, so that nobody else may claim its task."""

    def joined(self, priority: int, closes: float) -> bool:
        """A push of that priority that was called by then is to come."""


class Packed:
    """The operations as flat lists, indexed by call order, and what each may do.

    Pushes that no answer tells apart (one work, one priority, no id that a claim names) make the same entries, and
    entries whose order says nothing stand in one order: so states that differ in names only are one state.

    In which order pushes that overlap were kept is left open until a claim tells it: they stand beside each other,
    and the first to be handed out was before all that were due. Any of their orders could have been, for all may be
    kept at one instant, when the last had been called and none returned: there is one, since every two overlap
    (Helly). And nothing that was told meanwhile depends on it. While one of them waited and was due, it stood in
    the way of all behind; what tells of all that is due, an empty answer or a task of less priority, ends the time in
    which others may join them; and where equal works are refused, those to which another push is equal join none.
    """

    def __init__(self, ops: Sequence[Op], spec: Spec) -> None:
        self.spec = spec
        self.ops = sorted(ops, key=lambda op: (op.call, op.ret))
        self.index = {op.number: i for i, op in enumerate(self.ops)}
        eps, grace = spec.eps, spec.grace
        self.early = [op.call + op.lease - 2 * eps for op in self.ops]
        self.late = [inf if grace is None else op.ret + op.longest + grace + 2 * eps for op in self.ops]
        self.over = len(self.ops)
        self.early.append(-inf)
        self.late.append(inf)
        self.priority = [op.priority if spec.priority else 0 for op in self.ops]
        self.claim = [self.index.get(op.claim, -2) for op in self.ops]
        self.task_of = {op.id: i for i, op in enumerate(self.ops) if op.kind == "push" and op.id is not None}
        self.like = self._alike()
        self.simple = spec.fifo and spec.due_order == "push" and spec.requeue == "place"
        self.by_due = spec.fifo and spec.due_order == "due"
        self.loosens = spec.fifo and spec.requeue == "any"
        self.sorted = self.loosens or not spec.fifo
        self.joins = self._joins()
        self.limit = spec.max_deliveries

    def _alike(self) -> list[int]:
        """For each push the first that no answer tells from it."""
        named = {op.id for op in self.ops if op.kind == "claim" and op.id is not None}
        first: dict[object, int] = {}
        return [
            i if op.id in named else first.setdefault((op.work, op.equal, op.priority, op.id is None), i)
            for i, op in enumerate(self.ops)
        ]

    def _joins(self) -> list[bool]:
        """For each push whether it may stand beside others: it comes in the order of the pushes, and no other one is
        equal where that would be refused."""
        equal = Counter(op.equal for op in self.ops if op.kind == "push")
        spec = self.spec
        if not spec.fifo:
            return [False] * len(self.ops)
        return [
            op.kind == "push"
            and (op.not_before is None or spec.due_order == "push")
            and (spec.dedupe == "off" or equal[op.equal] == 1)
            for op in self.ops
        ]

    def harmless(self, op: Op, state: State) -> bool:
        """The operation has its answer in this state, and leaves the state as it is."""
        if op.result == "empty":
            reading = op.call - self.spec.eps
            return not any(self.free(entry, op) and entry.due <= reading for entry in state)
        if op.result == "dup":
            if self.spec.dedupe == "off":
                return False
            done = self.spec.dedupe == "until_done"
            equal = (e for e in state if self.ops[e.push].equal == op.equal and e.taken != ASIDE)
            return any(entry.waiting or done for entry in equal)
        hold = self.index.get(op.claim, -2)
        return all(entry.waiting for entry in state if entry.hold == hold)

    def apply_empty(self, op: Op, state: State) -> State:
        """The state after that answer: nothing that is kept later was there when there was nothing to claim."""
        return _close(state) if op.result == "empty" else state

    def effects(self, i: int, state: State, t: float, ahead: Ahead | None) -> Iterator[tuple[float, State]]:
        """When and how the operation may change the state so that its answer is right; an unknown claim takes only
        what is wanted."""
        for then, after in self._effects(i, state, t, ahead):
            yield then, self._in_place(after)

    def _effects(self, i: int, state: State, t: float, ahead: Ahead | None) -> Iterator[tuple[float, State]]:
        op = self.ops[i]
        if op.result in OBSERVERS and self.harmless(op, state):
            yield t, self.apply_empty(op, state)
        if op.kind == "push":
            if op.result == "dup":
                yield from self._dup_after_expiry(op, state, t)
            else:
                then, left = self._without_set_aside(op, state, t)
                if not self._refused(op, left):
                    yield then, self._with(i, left)
        elif op.kind == "claim":
            if op.result != "empty":
                yield from self._claims(i, state, t, ahead)
        else:
            yield from self._settles(i, state, t)

    def _refused(self, op: Op, state: State) -> bool:
        """An equal task is surely in the window."""
        if self.spec.dedupe == "off":
            return False
        done = self.spec.dedupe == "until_done"
        equal = (e for e in state if self.ops[e.push].equal == op.equal and e.taken != ASIDE)
        return any(done or self.free(e, op) for e in equal)

    def _without_set_aside(self, op: Op, state: State, t: float) -> tuple[float, State]:
        """The state in which the equal tasks that would refuse the push were set aside, as far as they may have been,
        and from when on they may."""
        if self.limit is None or self.spec.dedupe == "off":
            return t, state
        done = self.spec.dedupe == "until_done"
        left = list(state)
        for at, entry in reversed([*enumerate(state)]):
            if self.spent(entry) and self.ops[entry.push].equal == op.equal and (done or entry.waiting):
                t = t if entry.waiting else max(t, self.early[entry.hold])
                left[at : at + 1] = [] if entry.hold < 0 else [entry._replace(waiting=True, taken=ASIDE)]
        return t, tuple(left)

    def _dup_after_expiry(self, op: Op, state: State, t: float) -> Iterator[tuple[float, State]]:
        """An equal task's lease runs out, so that it waits and the push is refused."""
        if self.spec.dedupe == "until_claimed":
            for at, entry in enumerate(state):
                if not entry.waiting and self.ops[entry.push].equal == op.equal:
                    waits = entry._replace(waiting=True)
                    yield max(t, self.early[entry.hold]), (*state[:at], waits, *state[at + 1 :])

    def _claims(self, i: int, state: State, t: float, ahead: Ahead | None) -> Iterator[tuple[float, State]]:
        """The tasks that the claim may have been given."""
        op, eps = self.ops[i], self.spec.eps
        for at, entry in enumerate(state):
            if entry.taken == ASIDE or (op.result is not None and not self.takes(entry, op)):
                continue
            if ahead is not None and (
                ahead.kept(entry.hold) or (op.result is None and not ahead.wanted(state, at, i))
            ):
                continue
            then = max(t, entry.due - eps)
            if not entry.waiting:
                then = max(then, self.early[entry.hold])
            if not self._overtakes(at, state, op):
                taken = self._count_one_more(entry)
                held = Entry(entry.push, i, False, False, entry.due, taken=taken)
                first = first_beside(at, state)
                higher = sum(self.priority[each.push] > self.priority[entry.push] for each in state[:first])
                front = (*_close(state[:higher]), *state[higher:first])
                for before, after in self._part(first, at, state, max(op.call - eps, entry.due)):
                    yield then, (*front, *before, held, *after)

    def _count_one_more(self, entry: Entry) -> int:
        """How many claims of the task count after one more, as far as that makes a difference."""
        if self.limit is None:
            return 0
        return min(entry.taken + 1, self.limit) if self.spec.counts_release else entry.taken + 1

    def _part(self, first: int, at: int, state: State, reading: float) -> Iterator[tuple[State, State]]:
        """Those that were kept before the one at `at`, of those beside it from `first` on, and all behind it: what is
        due by that reading was not before, and where its place is lost to it, neither is anything else."""
        last = at + 1
        while last < len(state) and state[last].beside:
            last += 1
        others = (*state[first:at], *state[at + 1 : last])
        late = [] if self.loosens else [k for k, each in enumerate(others) if each.due > reading]
        for size in range(len(late) + 1):
            for chosen in combinations(late, size):
                after = tuple(each for k, each in enumerate(others) if k not in chosen)
                yield _apart(_close(tuple(others[k] for k in chosen))), (*_apart(after), *state[last:])

    def _overtakes(self, at: int, state: State, op: Op) -> bool:
        """A task that is surely due stands before the one at `at`."""
        taken = state[at]
        reading = max(op.call - self.spec.eps, taken.due)
        if any(
            entry.due <= reading and self.free(entry, op) and (self.simple or self.before(entry, taken))
            for entry in state[: first_beside(at, state)]
        ):
            return True
        return self.by_due and any(
            -inf < entry.due <= reading
            and self.free(entry, op)
            and self.priority[entry.push] == self.priority[taken.push]
            and taken.due > -inf
            and self.before(entry, taken)
            for entry in state[at + 1 :]
        )

    def _settles(self, i: int, state: State, t: float) -> Iterator[tuple[float, State]]:
        op, hold = self.ops[i], self.claim[i]
        for at, entry in enumerate(state):
            if entry.hold != hold:
                continue
            if op.result == "stale":
                if not entry.waiting:
                    waits = entry._replace(waiting=True)
                    yield max(t, self.early[hold]), (*state[:at], waits, *state[at + 1 :])
            elif op.kind == "ack":
                yield t, (*state[:at], *state[at + 1 :])
            else:
                due = entry.due if op.not_before is None else op.not_before
                taken = entry.taken - (not self.spec.counts_release and op.ret < self.early[hold])
                if entry.taken == ASIDE:  # who takes that back may have put it back in line
                    taken = self.limit or 0
                back = Entry(entry.push, -1, True, self.loosens, due, taken=taken)
                yield t, (*state[:at], back, *state[at + 1 :])
            return

    def _with(self, i: int, state: State) -> State:
        """The state with a new task, behind those that come first."""
        new, end = self.new(i), len(state)
        while end and self.priority[state[end - 1].push] < self.priority[i]:
            end -= 1
        last = end
        while self.sorted and last and state[last - 1].back:
            last -= 1
        if not last or not self._overlaps(state[last - 1], i):
            return (*_close(state[:last]), new, *state[last:])
        first = first_beside(last - 1, state)
        closes = min(new.closes, state[first].closes)
        beside = sorted(each._replace(beside=True, closes=closes) for each in (*state[first:last], new))
        return (*state[:first], *_apart(tuple(beside)), *state[last:])

    def _overlaps(self, entry: Entry, i: int) -> bool:
        """The new task stands beside that one, which waits for its first claim."""
        called = entry.closes >= self.ops[i].call
        return called and self.joins[i] and self.priority[entry.push] == self.priority[i]

    def _place(self, entry: Entry) -> tuple[int, Entry | tuple[()]]:
        """Tasks whose order says nothing, because there is none or they were handed out once, stand behind the others
        of their priority, and as they are spelled."""
        return -self.priority[entry.push], () if self.spec.fifo and not entry.back else entry

    def new(self, i: int) -> Entry:
        """The task of a push, as it waits for its first claim."""
        due = self.ops[i].not_before
        closes = self.ops[i].ret if self.joins[i] else -inf
        return Entry(self.like[i], -1, True, False, -inf if due is None else due, False, closes)

    def normalize(self, state: State, t: float, since: float, ahead: Ahead) -> State:
        """The state without what makes no difference to anything that is called at `since` or later and acts at `t`
        or later."""
        past = since - self.spec.eps if self.spec.due_order == "push" or not self.spec.fifo else -inf
        after = list(state)
        for at, (push, hold, waiting, returned, due, beside, closes, taken) in enumerate(state):
            if -inf < due <= past:
                due = -inf
            if closes > -inf and not ahead.joined(self.priority[push], closes):
                closes = -inf
            if 0 <= hold < self.over and ahead.settled(hold):
                if waiting or self.late[hold] <= since:
                    hold, waiting, returned = -1, True, self.loosens
                elif self.late[hold] == inf and self.early[hold] <= t:
                    hold = self.over
            entry = state[at]
            if due != entry.due or closes != entry.closes or hold != entry.hold:
                after[at] = Entry(push, hold, waiting, returned, due, beside, closes, taken)
        rested = tuple(each for each in after if each.taken != ASIDE or not ahead.settled(each.hold))
        return rested if rested == state else self._in_place(rested)

    def _in_place(self, state: State) -> State:
        """The state with those tasks in one order whose order says nothing."""
        return tuple(sorted(state, key=self._place)) if self.sorted else state

    def free(self, entry: Entry, op: Op) -> bool:
        """The task is there and nobody can hold it: it waits, or its lease must have ended when `op` was called."""
        if self.limit is not None and self.spent(entry):
            return False
        return entry.waiting or op.call >= self.late[entry.hold]

    def spent(self, entry: Entry) -> bool:
        """The task was handed out as often as may be: when it comes back it may be set aside."""
        return self.limit is not None and (entry.taken >= self.limit or entry.taken == ASIDE)

    def takes(self, entry: Entry, op: Op) -> bool:
        """The claim's task is this one: the one of its id, where that was told, and else one of its work."""
        push = self.ops[entry.push]
        if push.work != op.work:
            return False
        if op.id is None:
            return True
        return self.task_of.get(op.id, entry.push) == entry.push and push.id in (None, op.id)

    def before(self, one: Entry, other: Entry) -> bool:
        """A claim must take `one` rather than `other`, which was pushed later: as `model.Model.before`."""
        spec, first, second = self.spec, self.priority[one.push], self.priority[other.push]
        if first != second:
            return first > second
        if not spec.fifo or (spec.requeue == "any" and (one.back or other.back)):
            return False
        if spec.due_order == "push" or (one.due == -inf and other.due == -inf):
            return True
        if spec.due_order is None or -inf in (one.due, other.due):
            return False
        return one.due + 2 * spec.eps < other.due
