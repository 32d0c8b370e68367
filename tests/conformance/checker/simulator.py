"""Simulated queues, sound and buggy, used by several processes whose calls overlap: histories of any length."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any

from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

from lowq import Dedupe

BUGS = (
    "newest first",
    "priority ignored",
    "tail requeue",
    "early",
    "claimed twice",
    "unfenced settle",
    "false empty",
    "lost push",
    "racy push",
    "blocks for ever",
    "wrong window",
    "kill loses task",
    "acked comes back",
    "live settle refused",
)
SETS_ASIDE_EARLY = "sets aside early"
"""What is wrong with a queue that sets tasks aside one claim too early."""


OTHER_WINDOW: dict[Dedupe, Dedupe] = {"until_done": "until_claimed", "until_claimed": "until_done"}


@dataclass(slots=True)
class Load:
    """How the processes behave, and what is wrong with the queue."""

    processes: int = 3
    ops: int = 40
    works: int = 4
    unique: float = 0.3
    keys: float = 0.0
    """How many of the works that are equal to others are so by their key."""
    lease: float = 12.0
    ids: bool = True
    delays: float = 0.15
    releases: float = 0.3
    slow: float = 0.15
    kills: float = 0.0
    raises: float = 0.0
    priorities: int = 2
    rounded: bool = False
    bug: str = ""
    fault: float = 0.3
    drain: bool = False
    pushes: float | None = None


@dataclass(slots=True)
class Task:
    """A task in the simulated queue."""

    id: int
    work: str
    priority: int
    not_before: float
    place: float
    equal: str = ""
    holder: Op | None = None
    ends: float = inf
    taken: int = 0


@dataclass(slots=True)
class Queue:
    """Sound, except for the bug."""

    spec: Spec
    load: Load
    random: Random
    tasks: list[Task] = field(default_factory=list)
    ids: Any = field(default_factory=lambda: count(1))
    latest: dict[int, int] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    acked: list[Task] = field(default_factory=list)

    def bug(self, name: str) -> bool:
        return self.load.bug == name and self.random.random() < self.load.fault

    def free(self, task: Task, now: float) -> bool:
        return task.holder is None or task.ends <= now

    def stands(self, equal: str, now: float) -> bool:
        window = self.spec.dedupe
        if self.bug("wrong window"):
            window = OTHER_WINDOW.get(window, window)
        if window == "off":
            return False
        equals = [task for task in self.tasks if task.equal == equal]
        return any(window == "until_done" or self.free(task, now) for task in equals)

    def set_aside(self, now: float) -> None:
        """What came back often enough is gone, sooner or later."""
        if self.spec.max_deliveries is None:
            return
        limit = self.spec.max_deliveries - (self.load.bug == SETS_ASIDE_EARLY)
        for task in list(self.tasks):
            if 0 < task.taken >= limit and self.free(task, now) and self.random.random() < 0.8:
                self.tasks.remove(task)

    def push(self, op: Op, now: float, seen: bool) -> None:
        self.set_aside(now)
        stands = seen if self.bug("racy push") else self.stands(op.equal, now)
        if stands or (op.equal in self.blocked and self.spec.dedupe != "off" and self.bug("blocks for ever")):
            op.result = "dup"
            return
        self.blocked.add(op.equal)
        number = next(self.ids)
        task = Task(number, op.work, op.priority, -inf if op.not_before is None else op.not_before, number, op.equal)
        if not self.bug("lost push"):
            self.tasks.append(task)
        op.result = "added"
        op.id = str(number) if self.load.ids else None

    def claim(self, op: Op, now: float) -> Task | None:
        self.set_aside(now)
        ready = [task for task in self.tasks if self.free(task, now) and task.not_before <= now]
        if self.bug("early"):
            ready = [task for task in self.tasks if self.free(task, now)]
        if self.bug("claimed twice"):
            ready = [task for task in self.tasks if task.not_before <= now]
        if self.acked and self.bug("acked comes back"):
            task = self.random.choice(self.acked)
            self.acked.remove(task)
            self.tasks.append(task)
            task.holder = None
            ready = [task]
        if not ready or self.bug("false empty"):
            op.result = "empty"
            return None
        sign = -1 if self.bug("newest first") else 1
        flat = self.bug("priority ignored")
        task = min(ready, key=lambda task: (0 if flat else -task.priority, sign * task.place))
        task.holder, task.ends = op, now + op.lease
        task.taken += 1
        self.latest[task.id] = op.number
        op.result, op.work = "task", task.work
        op.id = str(task.id) if self.load.ids else None
        return task

    def settle(self, op: Op, task: Task, now: float) -> None:
        mine = task in self.tasks and task.holder is not None and self.latest[task.id] == op.claim
        unfenced = task in self.tasks and self.bug("unfenced settle")
        if (not mine and not unfenced) or (mine and self.bug("live settle refused")):
            op.result = "stale"
            return
        op.result = "ok"
        if op.kind == "ack":
            self.tasks.remove(task)
            self.acked.append(task)
            return
        if not self.spec.counts_release and task.ends > now:
            task.taken -= 1
        task.holder, task.ends = None, inf
        self.latest[task.id] = -1
        if op.not_before is not None:
            task.not_before = op.not_before
        if self.spec.requeue == "any" or self.bug("tail requeue"):
            task.place = next(self.ids)


@dataclass(slots=True)
class Process:
    """One caller: what it holds, and what it is doing."""

    name: str
    held: list[tuple[Op, Task]] = field(default_factory=list)


def simulate(random: Random, spec: Spec, load: Load) -> list[Op]:
    """A history of `load.ops` operations or a few more."""
    queue = Queue(spec, load, random)
    ops: list[Op] = []
    events: list[tuple[float, int, str, Any]] = []
    order, names, uniques = count(), count(load.processes), count()
    for number in range(load.processes):
        heappush(events, (random.random() * 3, next(order), "call", Process(f"p{number}")))
    near_empty = random.random() < 0.5
    pushes = load.pushes or (0.4 if near_empty else 0.52)

    def draw(process: Process, now: float) -> tuple[Op, Task | None]:
        op = Op(len(ops), process.name, "claim", now)
        settles = process.held and random.random() < (0.75 if load.slow else 0.9)
        if settles:
            claim, task = process.held.pop(random.randrange(len(process.held)))
            op.kind = "release" if random.random() < load.releases else "ack"
            op.claim, op.work = claim.number, claim.work
            if op.kind == "release" and random.random() < load.delays:
                op.not_before = now + random.random() * 12
            if random.random() < 0.1:
                process.held.append((claim, task))
            return op, task
        if random.random() < pushes:
            op.kind = "push"
            op.work = f"u{next(uniques)}" if random.random() < load.unique else f"k{random.randrange(load.works)}"
            op.equal = op.work
            if op.work.startswith("k") and load.keys and random.random() < load.keys:
                op.work, op.equal = f"u{next(uniques)}", f"key {op.work}"
            op.priority = random.randrange(load.priorities)
            if random.random() < load.delays:
                op.not_before = now + random.random() * 12
        else:
            op.lease = load.lease
        return op, None

    while events:
        now, _, kind, what = heappop(events)
        if load.rounded:
            now = float(round(now))
        if kind == "call":
            if len(ops) >= load.ops:
                continue
            op, task = draw(what, now)
            ops.append(op)
            reading = now + random.random() * 2
            effect = reading + random.random() * 2
            seen = queue.stands(op.equal, now) if op.kind == "push" else False
            heappush(events, (effect, next(order), "effect", (what, op, task, reading, seen)))
        elif kind == "effect":
            process, op, task, reading, seen = what
            killed = random.random() < load.kills
            raised = not killed and random.random() < load.raises
            if killed and random.random() < 0.5:
                op.ret = now + random.random()
                _die(queue, process, None)
            else:
                reading = min(max(reading, op.call), now)
                if op.kind == "push":
                    queue.push(op, reading, seen)
                elif op.kind == "claim":
                    task = queue.claim(op, reading)
                    if task is not None and not killed and not raised:
                        process.held.append((op, task))
                else:
                    queue.settle(op, task, reading)
                op.ret = now + random.random() * 2
                if killed:
                    _die(queue, process, task)
            if killed or raised:
                _forget(op)
            if killed:
                if random.random() < 0.3:
                    op.ret = inf
                what = process = Process(f"p{next(names)}")
            end = op.ret if op.ret != inf else now + 1
            slow = load.lease * 1.5 if process.held and random.random() < load.slow else 0
            heappush(events, (end + random.random() * (4 if near_empty else 2) + slow, next(order), "call", process))
        if load.rounded:
            for each in ops[-8:]:
                if each.ret != inf:
                    each.ret = max(each.call, float(round(each.ret)))
    done = [op for op in ops if op.result is not None or op.kind is not None]
    for op in done:
        if op.ret < op.call:
            op.ret = op.call
    if load.drain:
        _drain(queue, done, random, spec, load)
    return done


def _die(queue: Queue, process: Process, task: Task | None) -> None:
    """The process is killed; what it holds stays leased, unless the queue loses it."""
    for lost in [task, *(task for _, task in process.held)]:
        if lost in queue.tasks and queue.bug("kill loses task"):
            queue.tasks.remove(lost)


def _forget(op: Op) -> None:
    """Nobody knows what came of it."""
    op.result = None
    if op.kind != "push":
        op.id = None
    else:
        op.id = None
    if op.kind == "claim":
        op.work = ""


def _drain(queue: Queue, ops: list[Op], random: Random, spec: Spec, load: Load) -> None:
    """At the end the leases are waited out, and one process claims until nothing comes twice."""
    now = max((op.ret for op in ops if op.ret != inf), default=0.0) + load.lease + (spec.grace or 0) + 30
    empties = 0
    while empties < 2:
        op = Op(len(ops), "drain", "claim", now, now + 1, lease=1e6)
        queue.claim(op, now + random.random())
        ops.append(op)
        empties = empties + 1 if op.result == "empty" else 0
        now += 2


def limited(random: Random, **words: Any) -> tuple[Spec, Load]:
    """As `varied`, and the queue sets aside what was claimed too often; few works are claimed again and again."""
    spec, load = varied(random, **{"releases": 0.6, "slow": 0.3, "works": random.choice([1, 2, 4]), **words})
    spec = replace(spec, max_deliveries=random.choice([1, 2, 3]), counts_release=random.random() < 0.7)
    return spec, replace(load, ids=random.random() < 0.6)


def varied(random: Random, **words: Any) -> tuple[Spec, Load]:
    """A queue and a load drawn at random; `words` are fields of the load that are fixed."""
    dedupe: Any = random.choice(["until_done", "until_claimed", "off"])
    spec = Spec(
        dedupe,
        fifo=random.random() < 0.9,
        priority=random.random() < 0.8,
        requeue="any" if random.random() < 0.2 else "place",
        grace=random.choice([None, 0.0, 3.0]),
    )
    load = Load(
        processes=random.randint(2, 5),
        ops=random.randint(8, 60),
        works=random.choice([1, 2, 4, 30]),
        unique=random.choice([0.0, 0.3, 1.0]),
        lease=random.choice([4.0, 12.0, 40.0]),
        ids=random.random() < 0.6,
        delays=random.choice([0.0, 0.2]),
        kills=random.choice([0.0, 0.0, 0.05]),
        raises=random.choice([0.0, 0.0, 0.03]),
        rounded=random.random() < 0.2,
        drain=random.random() < 0.5,
        priorities=2 if spec.priority else 1,
    )
    return spec, replace(load, **words)
