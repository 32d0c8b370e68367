"""The words a harness speaks: what a queue may promise, and the traits that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Literal, get_args

from lowq import Dedupe

DueOrder = Literal["push", "due"]
DedupeBy = Literal["work", "key"]
Requeue = Literal["place", "any"]
Redriven = Literal["alone", "any"]
Outlasts = Literal["kill", "restart"]


class BrokenHarness(Exception):
    """What was given to be checked is no harness; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A word, what it says of a queue, and what a client or harness must have to keep it.

    `push`, `claim` and `open` are keywords of these methods, `methods` are the client's, `harness` the harness's
    own, and `needs` are other promises without which this one means nothing.
    """

    word: str
    says: str
    push: str | None = None
    claim: str | None = None
    open: str | None = None
    methods: tuple[str, ...] = ()
    harness: str | None = None
    needs: tuple[str, ...] = ()


PROMISES: Mapping[str, Promise] = {
    promise.word: promise
    for promise in (
        Promise("fifo", "first in, first out"),
        Promise("priority", "a higher priority comes out first", push="priority"),
        Promise("not_before", "a task waits for its time", push="not_before"),
        Promise("lease", "a claim ends by itself, and the task is handed on", claim="lease_for"),
        Promise("fenced", "what was settled, or went to somebody else, can be settled no more"),
        Promise("shared_lease", "opening or closing another client ends nobody's claim"),
        Promise("extend", "a lease can be made longer", methods=("extend",), needs=("lease",)),
        Promise("release", "a claimed task can be given back", methods=("release",)),
        Promise("dead_letter", "a claimed task can be set aside for a person", methods=("dead_letter",)),
        Promise("cancel", "a waiting task can be taken out", methods=("cancel",)),
        Promise("batch", "many works are pushed together or not at all", methods=("push_many",)),
        Promise("bulk", "many tasks are claimed and acked together", methods=("claim_many", "ack_many")),
        Promise("wait", "a claim can wait until there is a task", claim="wait"),
        Promise("key", "an explicit key decides what is equal", push="key"),
        Promise("headers", "headers go with a work, and play no part in what is equal", push="headers"),
        Promise("capacity", "a full queue refuses a push, and drops nothing", open="capacity"),
        Promise("peek", "a look at what is next changes nothing", methods=("peek",)),
        Promise("names", "one place holds several queues", open="name"),
        Promise("inspect", "tasks are listed and counted", methods=("tasks", "count")),
        Promise("json", "what is not JSON is refused at push, and works are copied"),
        Promise("prompt", "an empty claim answers at once, and never falsely"),
        Promise("close", "what a client held is let go, and its use afterwards is refused", methods=("close",)),
        Promise("clock", "a wall clock that steps back takes nothing back", harness="pass_time"),
        Promise("persistent", "what was pushed is there after closing and opening again"),
        Promise("threads", "many threads may use it at once"),
        Promise("processes", "many processes may use it at once"),
        Promise("coroutines", "many calls of one client may be awaited at once on its event loop"),
        Promise("crash", "a killed process loses nothing that it was told is kept", needs=("persistent",)),
        Promise("transaction", "a push can be part of the application's own transaction", harness="transaction"),
        Promise("worker", "a worker of its own runs what was pushed", harness="start"),
        Promise("server", "a server keeps it, without which clients get on for a while", harness="server"),
    )
}


FINE = timedelta(milliseconds=1)
"""A resolution this fine is taken for exact where the queue's clock stands still."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How a queue keeps its promises, where sound queues differ."""

    dedupe: Dedupe = "off"
    """While what an equal work is refused."""
    due_order: DueOrder | None = "push"
    """What orders due tasks that had a not-before: their push, their due time, or nothing (None)."""
    requeue: Requeue = "place"
    """Where a returned task goes: its old place, or any."""
    redriven: Redriven = "any"
    """Beside what a dead task may be redriven: beside no equal one that equal works are refused for, or any."""
    resolution: timedelta = FINE
    """How finely due times and leases are kept."""
    shortest_lease: timedelta = timedelta(seconds=1)
    """The shortest lease that can be asked for."""
    zero_lease: bool = False
    """A lease of zero can be asked for, and is over at once (SQS's VisibilityTimeout of 0)."""
    grace: timedelta = timedelta(0)
    """How long after its end a lease is handed on at the latest."""
    patience: timedelta = timedelta(seconds=1)
    """How long an empty claim may take."""
    wake: timedelta = timedelta(seconds=0.5)
    """How long after there is a task a claim that waits for one returns, at the latest."""
    max_delay: timedelta | None = None
    """The longest time to a not-before that can be asked for; None: any."""
    priorities: tuple[int, int] | None = None
    """The lowest and the highest priority, 0 among them; None: all from -2^31 to 2^31-1 at least."""
    dedupe_by: DedupeBy = "work"
    """What makes works equal where no key is given: the "work" itself; or nothing does, and only a "key" decides."""
    remembers: frozenset[str] = frozenset()
    """What has ended and may refuse an equal work all the same, for a while or for ever: see REMEMBERED."""
    room: int | None = None
    """For how many tasks there is room at least, where the queue fixes that; None: for all that are pushed."""
    one_at_a_time: bool = False
    """While one task is in hand, whoever claims gets nothing, as where a lock is to serialise what is done; or the
    client that has it does, or is refused by name."""
    fixed_lease: timedelta | None = None
    """How long every lease is, where the queue fixes that and its claim takes no `lease_for`."""
    main_thread: bool = False
    """A client works in the main thread of its process only."""
    max_deliveries: int | None = None
    """After how many claims a task that comes back is set aside instead of being handed out again; None: never."""
    counts_release: bool = True
    """Whether a claim that was given back is one of `max_deliveries`; if not, only those that ended by themselves."""
    refuses: frozenset[str] = frozenset()
    """Works that are refused by a named error, in words: see REFUSABLE."""
    whole_floats: bool = True
    """1.0 and 1 are two numbers; if not, 1.0 may come out as 1, and be equal to it, as in JavaScript (RFC 8785)."""
    workers: int | None = 1
    """How many tasks are run at once, however often workers are started; None: each start adds more."""
    attempts: int | None = None
    """How often a worker tries a task that always fails, before it sets it aside; None: not stated."""
    retry_after: timedelta | None = None
    """How long after it failed a task is tried again at the earliest; None: not stated."""
    outlasts: Outlasts | None = "kill"
    """What its server meets that what was acknowledged outlasts, where `persistent` is promised: a kill, a restart in
    good order, or, as its settings are, nothing (None)."""

    def bound_priority(self, priority: int) -> int:
        """The priority, or the nearest one that there is."""
        lowest, highest = self.priorities or (priority, priority)
        return min(max(priority, lowest), highest)


REFUSABLE: Mapping[str, str] = {
    "nul": "a text that holds the character U+0000",
    "control": "a text that holds another control character",
    "astral": "a text that holds a character beyond U+FFFF",
    "empty": "the empty text",
    "bigint": "an integer beyond 2^53 - 1, either way",
    "null": "null",
}
"""What a queue may refuse whose storage cannot keep it, where it says so in the trait `refuses`."""

REMEMBERED: Mapping[str, str] = {
    "done": "a task that was acked",
    "dead": "a task that was set aside",
    "cancelled": "a task that was cancelled",
}
"""What may still refuse an equal work where the trait `remembers` says so."""

_WORDS: Mapping[str, Mapping[str, str]] = {"refuses": REFUSABLE, "remembers": REMEMBERED}
"""Traits that are a set of words, with these words."""

_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "dedupe": get_args(Dedupe),
    "due_order": (*get_args(DueOrder), None),
    "requeue": get_args(Requeue),
    "redriven": get_args(Redriven),
    "dedupe_by": get_args(DedupeBy),
    "zero_lease": (False, True),
    "whole_floats": (False, True),
    "one_at_a_time": (False, True),
    "main_thread": (False, True),
    "counts_release": (False, True),
    "outlasts": (*get_args(Outlasts), None),
}
_NUMBERS = ("workers", "attempts", "room", "max_deliveries")
"""Traits that are a number from 1 on or None."""
_OR_NONE = ("max_delay", "fixed_lease", "retry_after")
"""Traits that are a length of time or None."""
TRAITS = tuple(field.name for field in fields(Traits))
METHODS = ("open", "pass_time", "now", "start", "transaction", "server", "close_place", "event_loop")
STATEMENTS = ("known", "sometimes")
"""What a harness says of its faults: see known.py."""
HARNESS_NAMES = ("promises", *TRAITS, *STATEMENTS, *METHODS)
SERVER_NAMES = ("address", "restart", "kill", "freeze", "thaw")


def read_promises(words: object, who: str) -> frozenset[str]:
    """The promises as a set. Raises BrokenHarness for anything but known words that go together."""
    if isinstance(words, str) or not isinstance(words, (set, frozenset, list, tuple)):
        raise BrokenHarness(f"{who}: promises: expected a set of words, got {type(words).__name__}")
    for word in words:
        if not isinstance(word, str) or word not in PROMISES:
            hint = _hint(word, PROMISES)
            raise BrokenHarness(f"{who}: unknown promise {word!r}{hint}; known are {' '.join(PROMISES)}")
    for word in words:
        for needed in PROMISES[word].needs:
            if needed not in words:
                raise BrokenHarness(f"{who}: the promise {word!r} means nothing without {needed!r}")
    return frozenset(words)


def read_traits(values: Mapping[str, object], who: str) -> Traits:
    """The traits of a harness. Raises BrokenHarness for an unknown trait or a value that is none."""
    sets = dict[str, frozenset[str]]()
    for trait, value in values.items():
        if trait not in TRAITS:
            raise BrokenHarness(f"{who}: unknown trait {trait!r}{_hint(trait, HARNESS_NAMES)}")
        if trait in _NUMBERS:
            if value is not None and (type(value) is not int or value < 1):
                raise BrokenHarness(f"{who}: {trait}: expected a number from 1 on, or None, got {value!r}")
            continue
        if trait == "priorities":
            if value is not None and not _is_range(value):
                raise BrokenHarness(f"{who}: priorities: expected two integers with 0 between, got {value!r}")
            continue
        if trait in _WORDS:
            sets[trait] = _read_words(trait, value, who)
            continue
        choices = _CHOICES.get(trait)
        if choices is not None and (value, type(value)) not in [(each, type(each)) for each in choices]:
            raise BrokenHarness(f"{who}: {trait}: expected {' or '.join(map(repr, choices))}, got {value!r}")
        if choices is None and not (trait in _OR_NONE and value is None):
            if not isinstance(value, timedelta):
                raise BrokenHarness(f"{who}: {trait}: expected a timedelta, got {value!r}")
            if value < timedelta(0) or (trait in ("shortest_lease", "fixed_lease") and not value):
                raise BrokenHarness(f"{who}: {trait}: expected more than zero, got {value!r}")
    return Traits(**{**values, **sets})  # type: ignore[arg-type]  # each was checked above


def _read_words(trait: str, value: object, who: str) -> frozenset[str]:
    """The words of a trait that is a set of them. Raises BrokenHarness for anything but known ones."""
    words = _WORDS[trait]
    if isinstance(value, str) or not isinstance(value, (set, frozenset, list, tuple)):
        raise BrokenHarness(f"{who}: {trait}: expected a set of words, got {type(value).__name__}")
    for word in value:
        if not isinstance(word, str) or word not in words:
            known = f"{_hint(word, words)}; known are {' '.join(words)}"
            raise BrokenHarness(f"{who}: {trait}: unknown word {word!r}{known}")
    return frozenset(value)


def _is_range(value: object) -> bool:
    """Whether it is the lowest and the highest priority."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    lowest, highest = value
    return type(lowest) is int and type(highest) is int and lowest <= 0 <= highest and lowest < highest


def check_names(harness: object, who: str) -> None:
    """Raise BrokenHarness where the harness has an attribute that is a misspelt promise, trait or method.

    That is one whose name nearly spells a known one, and whose value could be the known one's. What resembles nothing
    is the author's own.
    """
    own = {name: value for cls in type(harness).__mro__[:-1] for name, value in vars(cls).items()}
    for name, value in {**own, **getattr(harness, "__dict__", {})}.items():
        if name.startswith("_") or name in HARNESS_NAMES:
            continue
        near = nearly(name)
        if near is not None and _could_be(near, value):
            kind = "method" if near in METHODS else "statement" if near in STATEMENTS else "trait"
            said = f"{who}: unknown {kind} {name!r}, did you mean {near!r}?"
            raise BrokenHarness(f"{said} A name of your own that resembles one of the suite's begins with _")


def check_server_names(server: object, who: str) -> None:
    """Raise BrokenHarness where a server has a name that nearly spells one of those that the suite asks for."""
    for name in dir(server):
        if name.startswith("_") or name in SERVER_NAMES:
            continue
        if (near := nearly(name, SERVER_NAMES)) is not None and near not in dir(server):
            raise BrokenHarness(f"{who}: server: it has a {name!r}, did you mean {near!r}?")


def nearly(name: str, names: tuple[str, ...] = HARNESS_NAMES) -> str | None:
    """The known name that this one nearly spells: but for case and underscores, one letter, or in a long name a few.

    A name of three letters resembles too many words for that.
    """
    bare = _bare(name)
    for known in names:
        if bare == _bare(known) or (len(known) > 3 and _one_off(bare, _bare(known))):
            return known
    long = [known for known in names if len(known) >= 7]
    close = get_close_matches(name.lower(), long, n=1, cutoff=0.85)
    return close[0] if close else None


def _bare(name: str) -> str:
    bare = name.replace("_", "").lower()
    return f"{bare[:-3]}y" if bare.endswith("ies") else bare


def _one_off(one: str, other: str) -> bool:
    """One letter is missing, too many, another, or two have changed places."""
    if abs(len(one) - len(other)) > 1 or one[:1] != other[:1]:
        return False
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, others = one[start:], other[start:]
    swapped = rest[1:2] + rest[:1] + rest[2:]
    return rest[1:] == others[1:] or rest[1:] == others or rest == others[1:] or swapped == others


def _could_be(known: str, value: object) -> bool:
    """Whether what is named so may be meant for the known name."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if known in METHODS:
        return callable(value) and not isinstance(value, type)
    if isinstance(value, property):
        return True
    if known == "promises":
        return isinstance(value, (set, frozenset, list, tuple, str))
    if known in STATEMENTS:
        return isinstance(value, Mapping)
    default = getattr(Traits(), known)
    if type(default) is bool:
        return isinstance(value, bool)
    if isinstance(default, timedelta) or known in _OR_NONE:
        return isinstance(value, (timedelta, int, float)) and not isinstance(value, bool)
    if known == "priorities":
        return isinstance(value, (tuple, list))
    if known in _WORDS:
        return isinstance(value, (set, frozenset, list, tuple, str))
    kinds = (int if known in _NUMBERS else str, type(None))
    return isinstance(value, kinds) and not isinstance(value, bool)


def check_together(promises: frozenset[str], traits: Traits, who: str) -> None:
    """Raise BrokenHarness for traits that mean nothing with these promises."""
    if traits.dedupe != "off" and traits.dedupe_by == "key" and "key" not in promises:
        raise BrokenHarness(f"{who}: dedupe_by: 'key' means nothing without the promise 'key'")
    if traits.remembers and traits.dedupe == "off":
        raise BrokenHarness(f"{who}: remembers means nothing where dedupe is 'off'")
    if traits.fixed_lease is not None and "lease" not in promises:
        raise BrokenHarness(f"{who}: fixed_lease means nothing without the promise 'lease'")
    if traits.zero_lease and ("lease" not in promises or traits.fixed_lease is not None):
        raise BrokenHarness(f"{who}: zero_lease means nothing without the promise 'lease', or with fixed_lease")
    if traits.priorities is not None and "priority" not in promises:
        raise BrokenHarness(f"{who}: priorities means nothing without the promise 'priority'")
    if not traits.counts_release and (traits.max_deliveries is None or "release" not in promises):
        said = "counts_release means nothing without max_deliveries and the promise 'release'"
        raise BrokenHarness(f"{who}: {said}")
    if traits.main_thread and "threads" in promises:
        raise BrokenHarness(f"{who}: main_thread: a client of the main thread only cannot promise 'threads'")


def _hint(word: object, known: Any) -> str:
    """`, did you mean …?` or nothing."""
    near = get_close_matches(str(word).lower(), known, n=1, cutoff=0.75)
    return f", did you mean {near[0]!r}?" if near else ""
