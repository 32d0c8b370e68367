"""The complete search: is there an order of the operations that the sequential model explains?

After Wing and Gong (1993) and Lowe (2017). A configuration is which operations are placed and what the queue then
holds; for each only the earliest time at which it can be reached matters, because every lower bound (a call, a
not-before, the end of a lease) only pushes that time up and every upper bound (a return) only cuts. So an order is
scheduled as early as it goes, and one number for each configuration is enough. Nothing that is left out loses an
order:

- an operation that is legal now and changes nothing (empty, dup, stale) is placed at once;
- a lease runs out only right before the operation that needs it, since a leased task blocks nobody;
- unknown claims without a last instant and with one lease are interchangeable, and used in the order of their calls;
- operations are tried in the order in which their effects are needed, which only decides how soon an order is found.

The state is that of `spec.Model`, packed: a tuple of `Entry`, in claim order. `tests/checker` holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import NamedTuple

from lowq_conformance.history import Op
from lowq_conformance.precedence import precedence
from lowq_conformance.spec import Spec

BUDGET = 200_000
"""Configurations after which the search gives up."""


OBSERVERS = ("empty", "dup", "stale")
"""The answers of operations that change nothing, unless a lease must run out for them."""


PATIENCE = 300
"""Configurations of the first attempt for each hundred operations; every later one has more."""


class Entry(NamedTuple):
    """A live task: its push, the latest unsettled claim or -1, whether it waits, was handed back, and its time."""

    push: int
    hold: int
    waiting: bool
    returned: bool
    due: float


State = tuple[Entry, ...]

Config = tuple[int, int, int, State]
"""All known operations before the first number are placed, and those of the bits from there on; the unknown ones of
the next bits; and the state."""

Choice = tuple[int, Config, float]
"""An operation, the configuration after it, and when that is reached."""


@dataclass(slots=True)
class Stuck:
    """The farthest that an order came: what is placed, what the queue holds then, and what cannot come next."""

    placed: list[Op]
    state: State
    impossible: list[Op]


@dataclass(slots=True)
class Found:
    """True with an order, False with where it gets stuck, or None: given up. `configs` were looked at."""

    verdict: bool | None
    order: list[Op]
    stuck: Stuck | None
    configs: int


def wgl(ops: Sequence[Op], spec: Spec, budget: int = BUDGET) -> Found:
    """Whether some order of the operations is explained by the model."""
    return _Search(ops, spec).run(budget)


class _Search:
    """The operations as flat lists, indexed by call order; the unknown ones apart."""

    def __init__(self, ops: Sequence[Op], spec: Spec) -> None:
        self.spec = spec
        self.ops = sorted(ops, key=lambda op: (op.call, op.ret))
        self.index = {op.number: i for i, op in enumerate(self.ops)}
        self.known = [i for i, op in enumerate(self.ops) if op.result is not None]
        self.unknown = [i for i, op in enumerate(self.ops) if op.result is None]
        eps, grace = spec.eps, spec.grace
        self.early = [op.call + op.lease - 2 * eps for op in self.ops]
        self.late = [inf if grace is None else op.ret + op.lease + grace + 2 * eps for op in self.ops]
        self.priority = [op.priority if spec.priority else 0 for op in self.ops]
        self.claim = [self.index.get(op.claim, -2) for op in self.ops]
        place = {i: at for at, i in enumerate(self.known)}
        self.after = [place.get(i, -1) for i in self.claim]
        self.task_of = {op.id: i for i, op in enumerate(self.ops) if op.kind == "push" and op.id is not None}
        self.simple = spec.fifo and spec.due_order == "push" and spec.requeue == "place"
        self.by_due = spec.fifo and spec.due_order == "due"
        self.need = self._needs()
        self.alike = self._alike()
        self.others = [at for at in range(len(self.unknown)) if not any(alike >> at & 1 for alike in self.alike)]
        self.ending = [at for at in self.others if self.ops[self.unknown[at]].ret < inf]
        self.lead: dict[int, list[int]] = {}

    def _needs(self) -> list[float]:
        """By when the effect of each operation is needed."""
        first: dict[object, float] = {}
        last: dict[object, list[float]] = {}
        for op in self.ops:
            if op.kind == "claim" and op.result == "task":
                for key in (op.id, ("work", op.work)):
                    if key is not None:
                        first[key] = min(first.get(key, inf), op.ret)
                        last.setdefault(key, []).append(op.ret)
        needs = []
        for op in self.ops:
            need = op.ret
            if op.kind == "push" and op.result != "dup":
                need = first.get(op.id if op.id is not None else ("work", op.work), inf)
            elif op.kind == "release" and op.claim in self.index:
                claim = self.ops[self.index[op.claim]]
                again = last.get(claim.id if claim.id is not None else ("work", claim.work), [])
                need = min((ret for ret in again if ret >= op.call), default=inf)
            needs.append(need)
        return needs

    def _alike(self) -> list[int]:
        """The places in `unknown`, as bits, of unbounded claims of one lease: an earlier can do what a later can."""
        alike: dict[float, int] = {}
        for at, i in enumerate(self.unknown):
            op = self.ops[i]
            if op.kind == "claim" and op.ret == inf:
                alike[op.lease] = alike.get(op.lease, 0) | 1 << at
        return list(alike.values())

    def run(self, budget: int) -> Found:
        """Depth first, and again from the start in another order where that leads nowhere for long.

        `seen` holds the earliest time at which each configuration was reached; what was not looked at to the end
        is forgotten before the next attempt, so that the attempts together are one search.
        """
        seen: dict[Config, float] = {}
        led: dict[Config, float] = {}
        looks, attempt, leads = 0, 0, True
        while looks < budget:
            more = PATIENCE * (2 + len(self.ops) // 100) * (1 + attempt)
            if attempt == 1:
                self._lead()
            if attempt and leads and self.lead:
                random = Random(attempt) if attempt > 1 else None
                found, looks = self._attempt(led, random, looks, min(budget, looks + more), self.lead)
                if found is not None and found.verdict:
                    return found
                leads = found is None
            random = Random(attempt) if attempt else None
            found, looks = self._attempt(seen, random, looks, min(budget, looks + more), {})
            if found is not None:
                return found
            attempt += 1
        return Found(None, [], None, looks)

    def _lead(self) -> None:
        """For each push the places of those that must come before it, as far as that can be told."""
        place = {self.ops[i].number: at for at, i in enumerate(self.known)}
        for number, earlier in precedence(self.ops, self.spec).items():
            self.lead[self.index[number]] = [place[each] for each in earlier]

    def _attempt(
        self,
        seen: dict[Config, float],
        random: Random | None,
        looks: int,
        limit: int,
        lead: Mapping[int, Sequence[int]],
    ) -> tuple[Found | None, int]:
        total = len(self.known)
        path: list[int] = []
        start: Config = (0, 0, 0, ())
        farthest, reach, stuck = -1, 0, start
        order: list[int] | None = None  # the farthest path, kept when it is left and not at each step of it
        stack: list[tuple[Iterator[Choice], int, Config]] = [(iter([(-1, start, -inf)]), 0, start)]
        while stack:
            choices, length, _ = stack[-1]
            if order is None and length < reach:
                order = path[:reach]
            del path[length:]
            choice = next(choices, None)
            if choice is None:
                stack.pop()
                continue
            placed, config, t = choice
            path.append(placed)
            config, t = self._at_once(config, t, path)
            done = config[0] + config[1].bit_count()
            if done == total:
                return Found(True, self._told(path), None, looks), looks
            if done > farthest:
                farthest, reach, stuck, order = done, len(path), config, None
            if seen.get(config, inf) <= t:
                continue
            if looks == limit:
                for _, _, unfinished in stack:
                    seen.pop(unfinished, None)
                return None, looks
            looks += 1
            seen[config] = t
            stack.append((self._choices(config, t, random, lead), len(path), config))
        front = [self.ops[self.known[at]] for at in self._front(stuck)[0]]
        return Found(False, [], Stuck(self._told(order or path[:reach]), stuck[3], front), looks), looks

    def _told(self, path: Sequence[int]) -> list[Op]:
        return [self.ops[i] for i in path if i >= 0]

    def _front(self, config: Config) -> tuple[list[int], float]:
        """The places in `known` that may come next as far as real time goes, and the first return among them."""
        at, window = config[0], config[1]
        known, ops = self.known, self.ops
        found: list[int] = []
        least = inf
        while at < len(known):
            op = ops[known[at]]
            if op.call > least:
                break
            if not window & 1:
                found.append(at)
                least = min(least, op.ret)
            window >>= 1
            at += 1
        return found, least

    def _at_once(self, config: Config, t: float, path: list[int]) -> tuple[Config, float]:
        """Everything that is legal now and changes nothing is placed."""
        again = True
        while again:
            again = False
            front, least = self._front(config)
            for at in front:
                op = self.ops[self.known[at]]
                then = max(t, op.call)
                if (
                    op.result in OBSERVERS
                    and self._claimed(self.known[at], config)
                    and then <= least
                    and self._harmless(op, config[3])
                    and (then == t or not self._cuts(config[2], t, then))
                ):
                    config, t = _place(config, at), then
                    path.append(self.known[at])
                    again = True
                    break
        return config, t

    def _claimed(self, i: int, config: Config) -> bool:
        """A settle comes after its claim, also where that returned at the instant at which the settle was called."""
        return _placed(config, self.after[i])

    def _cuts(self, used: int, t: float, then: float) -> bool:
        """Waiting from `t` to `then` would pass the last instant of an unknown operation."""
        return any(not used >> at & 1 and t <= self.ops[self.unknown[at]].ret < then for at in self.ending)

    def _harmless(self, op: Op, state: State) -> bool:
        """The operation has its answer in this state, and leaves the state as it is."""
        if op.result == "empty":
            reading = op.call - self.spec.eps
            return not any(self._free(entry, op) and entry.due <= reading for entry in state)
        if op.result == "dup":
            if self.spec.dedupe == "off":
                return False
            done = self.spec.dedupe == "until_done"
            return any((entry.waiting or done) and self.ops[entry.push].equal == op.equal for entry in state)
        hold = self.index.get(op.claim, -2)
        return all(entry.waiting for entry in state if entry.hold == hold)

    def _choices(
        self, config: Config, t: float, random: Random | None, lead: Mapping[int, Sequence[int]]
    ) -> Iterator[Choice]:
        """Each operation that may come next, with every effect that it may have."""
        _, _, used, state = config
        front, least = self._front(config)
        found = [(self.need[self.known[at]], 0, at) for at in front]
        for at in self.others:
            op = self.ops[self.unknown[at]]
            if op.call > least:
                break
            if not used >> at & 1 and op.ret >= t:
                found.append((self.need[self.unknown[at]], 1, at))
        for alike in self.alike:
            if unused := alike & ~used:
                at = (unused & -unused).bit_length() - 1
                if self.ops[self.unknown[at]].call <= least:
                    found.append((self.need[self.unknown[at]], 1, at))
        found.sort()
        if random is not None and random.random() < 0.3:
            random.shuffle(found)
        for _, unknown, at in found:
            i = self.unknown[at] if unknown else self.known[at]
            op = self.ops[i]
            if not self._claimed(i, config) or any(not _placed(config, each) for each in lead.get(i, ())):
                continue
            for then, after in self._effects(i, state, max(t, op.call)):
                if then <= least and then <= op.ret:
                    if self.spec.requeue == "any":
                        after = tuple(sorted(after, key=self._place_of))
                    if unknown:
                        yield i, (config[0], config[1], used | 1 << at, after), then
                    else:
                        base, window, _, _ = _place(config, at)
                        yield i, (base, window, used, after), then

    def _effects(self, i: int, state: State, t: float) -> Iterator[tuple[float, State]]:
        """When and how the operation may change the state so that its answer is right."""
        op = self.ops[i]
        if op.result in OBSERVERS and self._harmless(op, state):
            yield t, state
        if op.kind == "push":
            if op.result == "dup":
                yield from self._dup_after_expiry(op, state, t)
            elif not self._refused(op, state):
                yield t, self._with(i, state)
        elif op.kind == "claim":
            if op.result != "empty":
                yield from self._claims(i, state, t)
        else:
            yield from self._settles(i, state, t)

    def _refused(self, op: Op, state: State) -> bool:
        """An equal task is surely in the window."""
        if self.spec.dedupe == "off":
            return False
        done = self.spec.dedupe == "until_done"
        return any(self.ops[e.push].equal == op.equal and (done or self._free(e, op)) for e in state)

    def _dup_after_expiry(self, op: Op, state: State, t: float) -> Iterator[tuple[float, State]]:
        """An equal task's lease runs out, so that it waits and the push is refused."""
        if self.spec.dedupe == "until_claimed":
            for at, entry in enumerate(state):
                if not entry.waiting and self.ops[entry.push].equal == op.equal:
                    waits = entry._replace(waiting=True, returned=True)
                    yield max(t, self.early[entry.hold]), (*state[:at], waits, *state[at + 1 :])

    def _claims(self, i: int, state: State, t: float) -> Iterator[tuple[float, State]]:
        """The tasks that the claim may have been given."""
        op, eps = self.ops[i], self.spec.eps
        for at, entry in enumerate(state):
            if op.result is not None and not self._is(entry, op):
                continue
            then = max(t, entry.due - eps)
            if not entry.waiting:
                then = max(then, self.early[entry.hold])
            if not self._overtakes(at, state, op):
                held = Entry(entry.push, i, False, _back(entry), entry.due)
                yield then, (*state[:at], held, *state[at + 1 :])

    def _overtakes(self, at: int, state: State, op: Op) -> bool:
        """A task that is surely due stands before the one at `at`."""
        taken = state[at]
        reading = max(op.call - self.spec.eps, taken.due)
        if any(
            entry.due <= reading and self._free(entry, op) and (self.simple or self._before(entry, taken))
            for entry in state[:at]
        ):
            return True
        return self.by_due and any(
            -inf < entry.due <= reading
            and self._free(entry, op)
            and self.priority[entry.push] == self.priority[taken.push]
            and taken.due > -inf
            and self._before(entry, taken)
            for entry in state[at + 1 :]
        )

    def _settles(self, i: int, state: State, t: float) -> Iterator[tuple[float, State]]:
        op, hold = self.ops[i], self.claim[i]
        for at, entry in enumerate(state):
            if entry.hold != hold:
                continue
            if op.result == "stale":
                if not entry.waiting:
                    waits = entry._replace(waiting=True, returned=True)
                    yield max(t, self.early[hold]), (*state[:at], waits, *state[at + 1 :])
            elif op.kind == "ack":
                yield t, (*state[:at], *state[at + 1 :])
            else:
                due = entry.due if op.not_before is None else op.not_before
                yield t, (*state[:at], Entry(entry.push, -1, True, True, due), *state[at + 1 :])
            return

    def _with(self, i: int, state: State) -> State:
        """The state with a new task, behind those that come first."""
        op = self.ops[i]
        new = Entry(i, -1, True, False, -inf if op.not_before is None else op.not_before)
        at = len(state)
        while at and self._after(state[at - 1].push, i):
            at -= 1
        return (*state[:at], new, *state[at:])

    def _place_of(self, entry: Entry) -> tuple[int, int]:
        """Where a task that was handed out once may go to any place, it stands where equal states look equal."""
        return -self.priority[entry.push], entry.push if _back(entry) else -1

    def _after(self, one: int, other: int) -> bool:
        """In the packed state the task of `one` stands after that of `other`, although it was there before."""
        if self.priority[one] != self.priority[other]:
            return self.priority[one] < self.priority[other]
        return not self.spec.fifo and one > other

    def _free(self, entry: Entry, op: Op) -> bool:
        """Nobody can hold the task: it waits, or its lease must have ended when `op` was called."""
        return entry.waiting or op.call >= self.late[entry.hold]

    def _is(self, entry: Entry, op: Op) -> bool:
        """The claim's task is this one: the one of its id, where that was told, and else one of its work."""
        push = self.ops[entry.push]
        if push.work != op.work:
            return False
        if op.id is None:
            return True
        return self.task_of.get(op.id, entry.push) == entry.push and push.id in (None, op.id)

    def _before(self, one: Entry, other: Entry) -> bool:
        """A claim must take `one` rather than `other`, which was pushed later: as `spec.Model.before`."""
        spec, first, second = self.spec, self.priority[one.push], self.priority[other.push]
        if first != second:
            return first > second
        if not spec.fifo or (spec.requeue == "any" and (_back(one) or _back(other))):
            return False
        if spec.due_order == "push" or (one.due == -inf and other.due == -inf):
            return True
        if spec.due_order is None or -inf in (one.due, other.due):
            return False
        return one.due + 2 * spec.eps < other.due


def _back(entry: Entry) -> bool:
    """The task was handed out before."""
    return entry.returned or entry.hold >= 0


def _placed(config: Config, at: int) -> bool:
    """The known operation at that place is placed."""
    return at < config[0] or bool(config[1] >> (at - config[0]) & 1)


def _place(config: Config, at: int) -> Config:
    """The configuration with the known operation at that place placed."""
    base, window, used, state = config
    window |= 1 << (at - base)
    while window & 1:
        window >>= 1
        base += 1
    return base, window, used, state
