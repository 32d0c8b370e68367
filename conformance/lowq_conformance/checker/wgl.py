"""Linearizability check (Wing & Gong 1993, Lowe 2017): looks for a linearization that the model accepts.

A configuration is which operations are placed and what the queue then
holds; for each only the earliest time at which it can be reached matters, because every lower bound (a call, a
not-before, the end of a lease) only pushes that time up and every upper bound (a return) only cuts. So an order is
scheduled as early as it goes, and one number for each configuration is enough. Nothing that is left out loses an
order:

- an operation that is legal now and changes nothing (empty, dup, stale) is placed at once;
- a lease runs out only right before the operation that needs it, since a leased task blocks nobody;
- unknown claims without a last instant and with one lease are interchangeable, and used in the order of their calls;
- unknown operations are left out where no answer needs them (`dependencies.py`);
- the order of pushes that overlap is left open until a claim tells it, and states that differ in what nothing to come
  can tell apart are one (`states.py`);
- a configuration that an answer to come refutes is not gone on with (`lookahead.py`);
- operations are tried in the order in which their effects are needed, which only decides how soon an order is found.

Most histories are explained at the first attempt, which does without what costs more than it saves there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from random import Random

from lowq_conformance.checker.dependencies import by_when, find_unmet, needless
from lowq_conformance.checker.lookahead import Lookahead, Outlook, Placed, Slot
from lowq_conformance.checker.states import OBSERVERS, Packed, State
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

BUDGET = 200_000
"""Configurations after which the search gives up."""


PATIENCE = 300
"""Configurations of the first attempt for each hundred operations; every later one has more."""


Config = tuple[Placed, State]
"""Which operations are placed, and what the queue holds then."""

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
    """True with an order, False with where it gets stuck, or None: given up. `configs` were looked at.

    In the order, pushes that overlap may stand in another order than that in which they were kept.
    """

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
        self.model = Packed(ops, spec)
        self.ops, self.index = self.model.ops, self.model.index
        self.known = [i for i, op in enumerate(self.ops) if op.result is not None]
        useless = {op.number for op in needless(self.ops, spec)}
        self.unknown = [i for i, op in enumerate(self.ops) if op.result is None and op.number not in useless]
        self.slot = {i: Slot(True, at) for at, i in enumerate(self.known)}
        self.slot |= {i: Slot(False, at) for at, i in enumerate(self.unknown)}
        self.after = [self.slot.get(i) for i in self.model.claim]
        self.need = by_when(self.ops)
        self.alike = self._alike()
        self.others = [at for at in range(len(self.unknown)) if not any(alike >> at & 1 for alike in self.alike)]
        self.ending = [at for at in self.others if self.ops[self.unknown[at]].ret < inf]
        self.all_unknown = (1 << len(self.unknown)) - 1
        self.lookahead: Lookahead | None = None
        self.outlooks: dict[Placed, Outlook] = {}
        self.fronts: dict[tuple[int, int], tuple[list[int], float]] = {}

    def _alike(self) -> list[int]:
        """The slots in `unknown`, as bits, of unbounded claims of one lease, and of unbounded pushes of one task: an
        earlier can do what a later can."""
        alike: dict[Hashable, int] = {}
        for at, i in enumerate(self.unknown):
            op = self.ops[i]
            if op.ret == inf and op.kind in ("claim", "push"):
                what = (op.lease, op.longest) if op.kind == "claim" else self.model.new(i)
                alike[op.kind, what] = alike.get((op.kind, what), 0) | 1 << at
        return list(alike.values())

    def run(self, budget: int) -> Found:
        """Depth first, and again from the start in another order where that leads nowhere for long.

        `seen` holds the earliest time at which each configuration was reached; what was not looked at to the end
        is forgotten before the next attempt, so that the attempts together are one search.
        """
        seen: dict[Config, float] = {}
        found = self._attempt(seen, None, 0, min(budget, self._patience(0)))
        if found.verdict is not None:
            return found
        if find_unmet(self.ops, self.spec):
            return replace(found, verdict=False)
        self.lookahead = Lookahead(self.model, self.slot)
        attempt = 1
        while found.verdict is None and found.configs < budget:
            limit = min(budget, found.configs + self._patience(attempt))
            found = self._attempt(seen, Random(attempt), found.configs, limit)
            attempt += 1
        return found if found.verdict is not None else replace(found, stuck=None)

    def _patience(self, attempt: int) -> int:
        """How many configurations the attempt may look at."""
        return PATIENCE * (2 + len(self.ops) // 100) * (1 + attempt)

    def _attempt(self, seen: dict[Config, float], random: Random | None, looks: int, limit: int) -> Found:
        """An order from the start, with `looks` configurations behind it and at most `limit` in all."""
        total = len(self.known)
        path: list[int] = []
        tried: dict[Config, float] = {}
        start: Config = (Placed(0, 0, 0), ())
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
            if tried.get(config, inf) <= t:
                continue
            tried[config] = t
            path.append(placed)
            config, t = self._at_once(config, t, path)
            done = config[0].base + config[0].window.bit_count()
            if done == total:
                return Found(True, self._list_placed(path), None, looks)
            if done > farthest:
                farthest, reach, stuck, order = done, len(path), config, None
            if seen.get(config, inf) <= t:
                continue
            if looks == limit:
                break
            looks += 1
            seen[config] = t
            outlook = self._outlook(config[0])
            if outlook is not None and outlook.hopeless(config[1], t):
                continue
            stack.append((self._choices(config, t, random), len(path), config))
        for _, _, unfinished in stack:
            seen.pop(unfinished, None)
        front = [self.ops[self.known[at]] for at in self._front(stuck[0])[0]]
        farthest_so_far = Stuck(self._list_placed(order or path[:reach]), stuck[1], front)
        return Found(None if stack else False, [], farthest_so_far, looks)

    def _list_placed(self, path: Sequence[int]) -> list[Op]:
        return [self.ops[i] for i in path if i >= 0]

    def _front(self, placed: Placed) -> tuple[list[int], float]:
        """The slots in `known` that may come next as far as real time goes, and the first return among them."""
        at, window, _ = placed
        if (front := self.fronts.get((at, window))) is not None:
            return front
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
        self.fronts[placed.base, placed.window] = found, least
        return found, least

    def _at_once(self, config: Config, t: float, path: list[int]) -> tuple[Config, float]:
        """Everything that is legal now and changes nothing is placed."""
        placed, state = config
        again = True
        while again:
            again = False
            front, least = self._front(placed)
            for at in front:
                op = self.ops[self.known[at]]
                then = max(t, op.call)
                if (
                    op.result in OBSERVERS
                    and self._claimed(self.known[at], placed)
                    and then <= least
                    and self.model.harmless(op, state)
                    and (then == t or not self._cuts(placed, t, then))
                ):
                    placed, t = placed.adding(Slot(True, at)), then
                    state = self.model.apply_empty(op, state)
                    path.append(self.known[at])
                    again = True
                    break
        return (placed, state) if self.lookahead is None else self._normalize(placed, state, t), t

    def _outlook(self, placed: Placed) -> Outlook | None:
        """What is to come then, where the search looks ahead."""
        if self.lookahead is None:
            return None
        outlook = self.outlooks.get(placed)
        if outlook is None:
            outlook = self.outlooks[placed] = Outlook(self.lookahead, placed)
        return outlook

    def _normalize(self, placed: Placed, state: State, t: float) -> Config:
        """The configuration without what makes no difference any more."""
        for at in self.ending:
            if self.ops[self.unknown[at]].ret < t:
                placed = placed.adding(Slot(False, at))
        left = ~placed.used & self.all_unknown
        since = self.ops[self.known[placed.base]].call if placed.base < len(self.known) else inf
        if left:
            since = min(since, self.ops[self.unknown[(left & -left).bit_length() - 1]].call)
        outlook = self._outlook(placed)
        return placed, state if outlook is None else self.model.normalize(state, t, since, outlook)

    def _claimed(self, i: int, placed: Placed) -> bool:
        """A settle comes after its claim, also where that returned at the instant at which the settle was called."""
        claim = self.after[i]
        return claim is None or placed.has(claim)

    def _cuts(self, placed: Placed, t: float, then: float) -> bool:
        """Waiting from `t` to `then` would pass the last instant of an unknown operation."""
        return any(t <= self.ops[self.unknown[at]].ret < then and not placed.used >> at & 1 for at in self.ending)

    def _choices(self, config: Config, t: float, random: Random | None) -> Iterator[Choice]:
        """Each operation that may come next, with every effect that it may have."""
        placed, state = config
        front, least = self._front(placed)
        found = [(self.need[self.known[at]], Slot(True, at)) for at in front]
        for at in [*self.others, *self._foremost(placed)]:
            op = self.ops[self.unknown[at]]
            if op.call <= least and op.ret >= t and not placed.used >> at & 1:
                found.append((self.need[self.unknown[at]], Slot(False, at)))
        found.sort(key=lambda each: (each[0], not each[1].known, each[1].at))
        if random is not None and random.random() < 0.3:
            random.shuffle(found)
        outlook = self._outlook(placed)
        for _, slot in found:
            i = self.known[slot.at] if slot.known else self.unknown[slot.at]
            op = self.ops[i]
            if not self._claimed(i, placed):
                continue
            for then, after in self.model.effects(i, state, max(t, op.call), outlook):
                if then <= least and then <= op.ret:
                    yield i, (placed.adding(slot), after), then

    def _foremost(self, placed: Placed) -> Iterator[int]:
        """Of those that are alike the first that is not placed."""
        for alike in self.alike:
            if left := alike & ~placed.used:
                yield (left & -left).bit_length() - 1
