"""Every public call of the API with the arguments that it takes, each with values that are not odd."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bench.fuzz.values import DAY, IDS, INSTANTS, ITEMS, LEASES, SPANS, TASKS, TEXTS, THEN
from lowq import (
    Discard,
    FakeClock,
    Headers,
    Item,
    Later,
    Lease,
    Retry,
    SystemClock,
    open_backend,
)
from lowq.location import locate, verify
from lowq.testing import fake_clock
from lowq.worker.background import active_pid

OPTIONAL: Any = object()
"""Stands for an argument that is left out."""


@dataclass(frozen=True, repr=False)
class Call:
    """A call: its name, what makes it, and what each argument is where it is not odd; `also` are values to try.

    `called` says how else a message may call an argument; `prepare` comes before the call.
    """

    name: str
    make: Callable[..., Any]
    usual: Mapping[str, Any]
    also: Mapping[str, list[Any]] = field(default_factory=dict)
    called: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: Callable[[], Any] | None = None
    prepare: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return self.name


_numbers = count(1)

URLS: list[Any] = [
    *("sqlite://", "sqlite:///", "files:///", "files://x", "http://", "http://[", "http://x:99999", "https://\ud800"),
    *(
        "http://\u202e",
        "http://a b/",
        "http://u:p@h/",
        "memory://\ud800",
        "memory://?a=b",
        "env://X",
        "://x",
        "a://b",
    ),
    *(
        "/",
        ".",
        "..",
        "~",
        "~nobody/x",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "/etc/passwd",
        "files:///etc/passwd",
    ),
    *("files:///dev/null", "files:///proc/x", "/" + "a" * 300, "sqlite:///%00", "sqlite:///\ud800", "/\udc80/x"),
]
OPTIONS = [
    *(
        "?x",
        "?create",
        "?create=&",
        "?create=maybe",
        "?patience=-1",
        "?patience=nan",
        "?patience=1e999",
        "?durability=x",
    ),
    *("?patience=1_0", "?durability=\ud800", "?nonsense=1", "?=", "?&&", "?patience=" + "9" * 5000),
]


def backend_calls(location: str) -> Iterator[Call]:
    """The verbs of a queue that is opened once, and whose tasks are few."""
    options: dict[str, Any] = {} if location.startswith("memory") else {"durability": "none"}
    queue = open_backend(location, **options)
    kept = partial(_listing, queue)
    kind = location.partition("://")[0][:6]

    taken: list[Lease] = []
    standing: list[Lease] = []

    def taking(found: Any) -> Any:
        """What a claim answered, which is settled before the next one that needs a lease."""
        taken.extend([found] if isinstance(found, Lease) else found or ())
        return found

    def few() -> None:
        if len(queue.tasks()) > 6:
            queue.ack_many([*taken, *standing])
            taken.clear()
            standing.clear()
            for each in queue.tasks():
                queue.cancel(each.id)

    def one_held() -> None:
        few()
        if not standing:
            queue.push(["held", next(_numbers)], priority=2**31 - 1)
            lease = queue.claim(lease_for=DAY)
            if lease is not None:
                standing.append(lease)

    def call(name: str, make: Callable[..., Any], also: Mapping[str, list[Any]] | None = None, **usual: Any) -> Call:
        called = {"items": ("items", "item 0", "item 1"), "leases": ("leases", "lease 0", "lease")}
        return Call(f"{kind}.{name}", make, usual, also or {}, called, kept, few)

    def settle(verb: Callable[..., Any], **given: Any) -> Any:
        lease = given.pop("lease", OPTIONAL)
        found = verb(standing[-1] if lease is OPTIONAL else lease, **given)
        standing[:] = [found] if isinstance(found, Lease) else []
        return found

    yield call(
        "push",
        lambda work=1, **more: queue.push(work, **more),
        {"not_before": INSTANTS},
        work=[1, {"a": "é"}],
        key=["k"],
        priority=[5],
        not_before=[THEN],
        headers=[{"a": "b"}],
    )
    yield call("push_many", queue.push_many, {"items": ITEMS}, items=[[Item(1), Item("two")]])
    yield call(
        "Item",
        lambda **parts: queue.push_many([Item(**{"work": 1, **parts})]),
        {"not_before": INSTANTS},
        work=[1],
        key=["k"],
        priority=[5],
        not_before=[THEN],
        headers=[{"a": "b"}],
    )
    yield call(
        "claim",
        lambda lease_for=DAY, wait=timedelta(0): taking(queue.claim(lease_for=lease_for, wait=_short(wait))),
        {"lease_for": SPANS},
        lease_for=[DAY],
        wait=[timedelta(0)],
    )
    yield call(
        "claim_many",
        lambda limit=2, lease_for=DAY: taking(queue.claim_many(limit, lease_for=lease_for)),
        {"lease_for": SPANS},
        limit=[2],
        lease_for=[DAY],
    )
    yield call(
        "ack_many",
        lambda leases=(), claim=1, lease_for=DAY: taking(
            list(queue.ack_many(leases, claim=claim, lease_for=lease_for).claimed)
        ),
        {"leases": [[each] for each in LEASES]},
        leases=[[]],
        claim=[0, 1],
        lease_for=[DAY],
    )
    for name, verb, more in (
        ("extend", queue.extend, {"lease_for": [DAY]}),
        ("ack", queue.ack, {"claim_for": [None, DAY]}),
        ("release", queue.release, {"not_before": [None, THEN], "reason": [None, "why"], "uncount": [True, False]}),
        ("dead_letter", queue.dead_letter, {"reason": ["why"]}),
    ):
        required = {"extend": {"lease_for": DAY}, "dead_letter": {"reason": "why"}}.get(name, {})
        make = partial(lambda verb, required, **given: settle(verb, **{**required, **given}), verb, required)
        yield replace(
            call(
                name,
                make,
                {"lease": LEASES, "not_before": INSTANTS, "lease_for": SPANS, "claim_for": SPANS},
                lease=[OPTIONAL],
                **more,
            ),
            prepare=one_held,
        )
    for name, asked in (("redrive", queue.redrive), ("cancel", queue.cancel), ("task", queue.task)):
        yield call(name, asked, {"id": IDS}, id=["1"])
    yield call("tasks", queue.tasks, {"after": TASKS}, state=[None, "ready"], after=[None], limit=[None, 3])


def _listing(queue: Any) -> Any:
    return queue.tasks(), queue.count()


def _short(wait: Any) -> Any:
    """No wait that lasts: whether a long one is taken is seen by `SystemClock.countdown`."""
    return min(wait, timedelta(milliseconds=2)) if isinstance(wait, timedelta) else wait


def opening_calls(folder: Path) -> Iterator[Call]:
    """What opens, finds and looks at queues."""

    def opened(location: Any, **more: Any) -> None:
        queue = open_backend(location, **more)
        with suppress(AttributeError):
            queue.close()

    places = [str(folder / "new.db"), f"files://{folder}/new", "memory://new"]
    also = [
        *URLS,
        *(f"sqlite://{folder}/o.db{each}" for each in OPTIONS),
        *(f"files://{folder}/o{each}" for each in OPTIONS),
    ]
    usual = {"location": places, "name": ["default", "other"], "dedupe": [None], "clock": [None], "create": [True]}
    options: list[dict[str, list[Any]]] = [{}, {"durability": ["process"], "patience": [DAY]}, {"nonsense": []}]
    for option in options:
        yield Call(
            "open_backend",
            lambda location=places[0], **more: opened(location, **more),
            {**usual, **option},
            {"location": also, "patience": SPANS, "name": TEXTS},
            {"clock": ("clock", "clock.now()")},
        )
    yield Call("locate", locate, {"location": places}, {"location": also})
    yield Call("verify", verify, {"location": places}, {"location": also})
    yield Call(
        "active_pid",
        lambda location=places[0], name="default": active_pid(location, name),
        {"location": places, "name": ["default"]},
        {"location": also, "name": TEXTS},
    )


def clock_calls(folder: Path) -> Iterator[Call]:
    """Clocks, retries, endings, headers."""
    clock = FakeClock()
    (folder / "no clock").write_bytes(b"what somebody else keeps")
    paths = [str(folder / "no clock"), str(folder), "/nowhere/x", "/dev/full", "/dev/null", ""]

    def made(**given: Any) -> None:
        FakeClock(**given).now()

    def delays(attempts: Any = 3, **given: Any) -> None:
        Retry(**given).delay(attempts, Random(1))

    yield Call(
        "FakeClock",
        made,
        {"start": [THEN], "path": [None, str(folder / "clock")]},
        {"path": paths, "start": INSTANTS},
    )
    yield Call(
        "fake_clock",
        lambda **given: entered(fake_clock(**given)),
        {"start": [THEN], "path": [folder / "c"], "patch": ["none"]},
        {"start": INSTANTS},
    )
    for name, call, argument in (
        ("advance", clock.advance, "by"),
        ("move_to", clock.move_to, "instant"),
        ("countdown", lambda length: clock.countdown(length)(), "length"),
        ("countdown of the system's", lambda length: SystemClock().countdown(length)(), "length"),
        ("sleep", lambda length: SystemClock().sleep(_short(length)), "length"),
    ):
        yield Call(
            f"clock.{name}",
            lambda call=call, argument=argument, **given: call(given[argument]),
            {argument: [DAY]},
            {argument: [*SPANS, *INSTANTS]},
            {argument: (argument, name)},
        )
    yield Call(
        "Retry",
        delays,
        {"max_attempts": [3], "first": [DAY], "factor": [2.0], "longest": [2 * DAY]},
        {"first": SPANS, "longest": SPANS},
    )
    yield Call(
        "Headers",
        lambda headers: (hash(Headers(headers)), repr(Headers(headers)), len(Headers(headers))),
        {"headers": [{"a": "b"}]},
    )
    yield Call(
        "Later",
        lambda when=DAY, **more: Later(when, **more).instant(THEN),
        {"when": [DAY, THEN], "count": [True]},
        {"when": [*SPANS, *INSTANTS]},
        {"when": ("Later",)},
    )
    yield Call("Discard", lambda reason="": Discard(reason).reason, {"reason": ["why"]})


def entered(context: Any) -> None:
    """The context was entered and left."""
    with context:
        pass
