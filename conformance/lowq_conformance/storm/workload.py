"""Draws workloads: rounds in which clients meet and then do at once what is likeliest to collide.

Plans are drawn from a seed and from what the queue promises, never from what it answers. Most works are pushed once,
so that what comes out says which push it was; a few hot ones are pushed again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.storm.performer import Step
from lowq_conformance.subject.subject import Subject

HOT = ("hot-1", "hot-2", "hot-3")
PRIORITIES = (0, 0, 0, 0, 1, 2, 3)  # whether a queue takes negative ones is for ORDER-5 to say
DELAYS = (0.29, 0.53)
"""In leases; no sum of these is a sum of what passes at once, so that nothing hangs on a moment."""
PASSES = (0.17, 0.37, 0.61, 1.13)
OUTLIVED = 1.13
BRIEF = timedelta(seconds=10)
"""The longest lease of a queue without fences that is waited for."""
BRIEFER = timedelta(seconds=1)
"""The longest lease of which a run can wait for the end and do something else beside."""
SETTLED: Step = ["settle_all"]
ENDING: list[Step] = [["settle_all"]]
"""Nobody closes: what is in memory only is gone when the last client is."""

PAUSE = 0.002
"""Seconds for which a client pauses in the middle of a call."""

Shares = list[list[Step]]
"""The steps of each client."""


@dataclass(slots=True)
class Plan:
    """Draws rounds for `clients` clients of a queue; `real`: time really passes, and is not to be spent freely, so
    that leases run out in `outwaited` rounds at most; `brief`: there is time for that in a short run; `outlived`:
    after so many leases one is over, however coarse the queue's times are; `keys`: a key makes works equal;
    `changes`: tasks are cancelled and leases made longer, too.
    """

    random: Random
    clients: int
    promises: frozenset[str]
    dedupe: bool
    delays: bool
    real: bool
    release_takes_time: bool = True
    outwaited: int = 0
    brief: bool = False
    outlived: float = OUTLIVED
    priorities: tuple[int, ...] = PRIORITIES
    keys: bool = False
    changes: bool = False
    meetings: Iterator[int] = field(default_factory=lambda: count(1))
    works: Iterator[int] = field(default_factory=lambda: count(1))
    prefix: str = "w"

    @classmethod
    def of(cls, subject: Subject, seed: object, clients: int, prefix: str = "w") -> Plan:
        """A plan for this queue. Raises NotPromised for one whose clients do not claim."""
        if subject.only_pushes:
            raise NotPromised("its own worker claims")
        traits = subject.traits
        long = traits.max_delay is None or subject.can_pass_time
        return cls(
            Random(f"{seed}"),
            clients,
            subject.promises,
            traits.dedupe != "off",
            "not_before" in subject.promises and traits.due_order == "push" and long,
            not subject.can_pass_time,
            release_takes_time=subject.takes("release", "not_before"),
            outwaited=2
            if "fenced" in subject.promises
            else int((traits.fixed_lease or traits.shortest_lease) <= BRIEF),
            brief="fenced" in subject.promises and (traits.fixed_lease or traits.shortest_lease) <= BRIEFER,
            outlived=OUTLIVED + (traits.grace + traits.resolution) / (traits.fixed_lease or traits.shortest_lease),
            priorities=tuple(map(traits.bound_priority, PRIORITIES)),
            keys="key" in subject.promises and traits.dedupe != "off",
            changes={"lease", "shared_lease"} <= subject.promises
            and traits.max_deliveries is None
            and not traits.one_at_a_time,
            prefix=prefix,
        )

    @property
    def leases(self) -> bool:
        """Whether what is in hand comes back by itself."""
        return "lease" in self.promises

    @property
    def fenced(self) -> bool:
        """Whether what comes too late is refused; without it nothing may be tried too late."""
        return "fenced" in self.promises

    def rounds(self, number: int, *, alone: bool = True) -> Shares:
        """So many rounds of all kinds; not `alone` where others, who meet nobody, are at the queue meanwhile.

        What those have in hand must not run out where a settle that comes too late is not refused.
        """
        self.changes = self.changes and alone
        kinds: list[Callable[[], Shares]] = [
            self.equal_pushes,
            self.racing_claims,
            self.one_each,
            self.free,
            self.free,
        ]
        if "release" in self.promises:
            kinds.append(self.racing_releases)
        if self.changes and "cancel" in self.promises:
            kinds.append(self.racing_cancels)
        if self.leases and (alone or self.fenced):
            # Where time really passes, a busy machine may not come to a round that stands behind all others.
            early = self.real and self.brief and self.random.random() < 0.5
            kinds = [self.run_out, *kinds] if early else [*kinds, self.run_out, self.run_out]
        if self.clients == 1:
            kinds = [self.free]
        return self.draw(kinds, number)

    def draw(self, kinds: list[Callable[[], Shares]], number: int) -> Shares:
        """So many rounds of these kinds, each kind at least once where there are rounds enough."""
        shares: Shares = [[["open"]] for _ in range(self.clients)]
        spent = 0
        for turn in range(number):
            kind = kinds[turn % len(kinds)] if turn < len(kinds) else self.random.choice(kinds)
            if kind == self.run_out and self.real:  # each one takes a lease's time
                spent += 1
                if spent > self.outwaited:
                    kind = self.free
            for share, steps in zip(shares, kind(), strict=True):
                share += steps
        return shares

    def equal_pushes(self) -> Shares:
        """All push one work at once, or works under one key, and then all want what was kept."""
        hot = self.random.choice([*HOT, *(self.work() for _ in range(9))])
        first, second = next(self.meetings), next(self.meetings)
        keyed, equals = self.by_key(), [hot, self.work(), self.work()]
        return self.all(
            lambda: [
                ["meet", first],
                *(step for equal in equals for step in [*self.pause(), self.equal_push(equal, keyed=keyed)]),
                ["meet", second],
                *[["claim"]] * 2,
                SETTLED,
            ]
        )

    def racing_claims(self) -> Shares:
        """A few tasks, and more claims at once."""
        first, second = next(self.meetings), next(self.meetings)
        shares = self.all(lambda: [["meet", second], *self.pause(), ["claim"], ["claim"], self.settle(), SETTLED])
        few = self.pushes(self.random.randrange(1, self.clients + 2))
        if "batch" in self.promises and self.random.random() < 0.3:
            few = [["batch", [self.item(step) for step in few]]]
        shares[self.random.randrange(self.clients)][:0] = few
        return [[["meet", first], *share] for share in shares]

    def one_each(self) -> Shares:
        """Everybody pushes one and takes one: nobody may be told that there is nothing."""
        first, second, third = next(self.meetings), next(self.meetings), next(self.meetings)
        return self.all(
            lambda: [
                *[["meet", first], *self.pause(), ["push", self.work()]],
                *[["meet", second], *self.pause(), ["claim"], ["meet", third], SETTLED],
            ]
        )

    def racing_releases(self) -> Shares:
        """One gives back what the others are looking for."""
        first, second, third = next(self.meetings), next(self.meetings), next(self.meetings)
        giver = self.random.randrange(self.clients)
        shares = self.all(lambda: [["meet", first], ["meet", second], ["claim"], ["claim"], ["meet", third], SETTLED])
        later = self.delays and self.release_takes_time
        give: Step = ["release", -1, self.delay()] if later else ["release", -1]
        one, other = self.push(), self.push()
        shares[giver] = [["meet", first], one, ["claim"], ["meet", second], give, other, ["meet", third], SETTLED]
        return shares

    def racing_cancels(self) -> Shares:
        """One cancels what it has pushed, from the last on, and the others claim it, from the first."""
        first, second, third = next(self.meetings), next(self.meetings), next(self.meetings)
        giver, pushes = self.random.randrange(self.clients), self.urgent_pushes(self.clients + 2)
        shares = self.all(
            lambda: [["meet", first], ["meet", second], *self.pause(), ["claim"], ["claim"], ["meet", third], SETTLED]
        )
        cancels = [step for push in reversed(pushes) for step in [*self.pause(), ["cancel", None, push[1]]]]
        shares[giver] = [["meet", first], *pushes, ["meet", second], *cancels, ["meet", third], SETTLED]
        return shares

    def run_out(self) -> Shares:
        """Holders that are slower than their leases, others that want what they hold, and then all settle.

        The holders want another task, or their own for longer.
        """
        number = next(self.meetings)
        meet = [next(self.meetings) for _ in range(4)]
        holders = max(1, self.clients - self.random.randrange(1, self.clients))
        extends = self.changes and {"fenced", "extend"} <= self.promises and self.random.random() < 0.7
        pushes = self.urgent_pushes(holders)
        longer: Step = ["extend", -1, [push[1] for push in pushes]]
        shares: Shares = []
        for client in range(self.clients):
            steps: list[Step] = [["meet", number], *pushes[client : client + 1]]
            steps += [["meet", meet[0]], *([["claim"]] if client < holders else [])]
            steps += [] if self.fenced else [["drop"]]
            steps += [["meet", meet[1]]]
            if self.real:
                steps += [["rest", self.outlived]]
            elif client == 0:
                steps += [["pass", OUTLIVED]]
            steps += [["meet", meet[2]], *self.pause()]
            steps += [longer if extends and client < holders else ["claim"], ["meet", meet[3]]]
            late: Step = self.random.choice([["ack", 0], self.settle(0)])
            steps += [late, SETTLED]
            shares.append(steps)
        return shares

    def comers_and_goers(self) -> Shares:
        """Some close their client and open another one while others work."""
        first = next(self.meetings)
        leaver = self.random.randrange(self.clients)
        return [
            [["meet", first], ["reopen"], *self.calls(3)]
            if client == leaver
            else [["meet", first], *self.calls(8), SETTLED]
            for client in range(self.clients)
        ]

    def free(self) -> Shares:
        """Everybody does what they like, and the queue is nearly empty all along."""
        first, last = next(self.meetings), next(self.meetings)
        shares = self.all(lambda: [["meet", first], *self.calls(self.random.randrange(4, 16))])
        if self.leases and self.fenced and not self.real:
            passes = ["pass", self.random.choice(PASSES)]
            shares[0].insert(self.random.randrange(1, len(shares[0])), passes)
        keeps = self.leases and self.fenced and self.random.random() < 0.7
        return [[*share, *([] if keeps else [["meet", last], SETTLED])] for share in shares]

    def fork(self) -> Shares:
        """One client opens the queue and forks; both go on with it at once."""
        before: list[Step] = [["open"], *self.pushes(4), ["claim"], ["ack", 0], ["claim"]]
        child: list[Step] = [*self.slow_calls(60), SETTLED]
        return [[*before, ["fork", "child", child], *self.slow_calls(60), SETTLED, ["join"]]]

    def pause(self) -> list[Step]:
        """Mostly, a pause somewhere in the next call, so that others come in between."""
        return [["pause", self.random.random(), PAUSE]] if self.random.random() < 0.7 else []

    def calls(self, number: int) -> list[Step]:
        """So many calls of all kinds."""
        return [step for _ in range(number) for step in self.call()]

    def slow_calls(self, number: int) -> list[Step]:
        """So many calls of all kinds, most of which pause somewhere."""
        return [step for _ in range(number) for step in [*self.pause(), *self.call()]]

    def call(self) -> list[Step]:
        """One call, or a few that belong together."""
        drawn = self.random.random()
        if drawn < 0.30:
            return self.pushes(1)
        if drawn < 0.34:
            return self.pushes(self.random.randrange(2, 6))
        if drawn < 0.38:
            return [self.equal_push(self.random.choice(HOT), *self.priority(), keyed=self.by_key())]
        if drawn < 0.41 and "batch" in self.promises:
            items = [self.item(step) for step in self.pushes(self.random.randrange(2, 6))]
            return [["batch", items]]
        if drawn < 0.70:
            return [["claim"]]
        return [self.settle(self.random.choice([0, -1, -1]))]

    def pushes(self, number: int) -> list[Step]:
        """So many pushes of works that nobody else pushes."""
        return [self.push() for _ in range(number)]

    def push(self) -> Step:
        """A push of a work of its own, perhaps under a key of its own."""
        delayed, work = self.delays and self.random.random() < 0.08, self.work()
        return ["push", work, *(self.priority() or [0]), self.delay() if delayed else None, self.key(work)]

    def urgent_pushes(self, number: int) -> list[Step]:
        """So many pushes of works that come before all others, where there are priorities."""
        urgent = max(self.priorities) if "priority" in self.promises else 0
        return [["push", work, urgent, None, self.key(work)] for work in (self.work() for _ in range(number))]

    def equal_push(self, equal: str, priority: int = 0, *, keyed: bool) -> Step:
        """A push of that work, or of a work of its own under that key."""
        return ["push", self.work(), priority, None, equal] if keyed else ["push", equal, priority]

    def by_key(self) -> bool:
        """Whether it is a key that makes the next works equal."""
        return self.keys and self.random.random() < 0.5

    def key(self, work: str) -> str | None:
        """A key that no other work has, or none."""
        return f"key of {work}" if self.by_key() else None

    def settle(self, which: int = -1) -> Step:
        """Ack, mostly; else release, now or for later."""
        if "release" not in self.promises or self.random.random() < 0.7:
            return ["ack", which]
        if self.delays and self.release_takes_time and self.random.random() < 0.3:
            return ["release", which, self.delay()]
        return ["release", which]

    def item(self, push: Step) -> list[Any]:
        """What a batch holds for a push."""
        return push[1:]

    def priority(self) -> list[int]:
        """A priority, where there are any."""
        return [self.random.choice(self.priorities)] if "priority" in self.promises else []

    def delay(self) -> float:
        """How long a task is not due, in leases."""
        return self.random.choice(DELAYS)

    def work(self) -> str:
        """A work that is pushed once."""
        return f"{self.prefix}{next(self.works)}"

    def all(self, steps: Callable[[], list[Step]]) -> Shares:
        """What each client is to do, drawn for each anew."""
        return [steps() for _ in range(self.clients)]
