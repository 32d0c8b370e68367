"""Records each call's invocation and response, one append-only file for each thread.

Two lines for each call: the first is written before the call is made, so that one cut off by `kill -9` is still
there, and the second when it returned or raised. Times are `time.monotonic_ns()`, one clock for all processes of a
machine. A thread has one call open at a time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lowq import Item
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.history.units import NANOSECONDS
from lowq_conformance.subject.answers import Answer, read_headers
from lowq_conformance.subject.client import Client, Held
from lowq_conformance.support.asking import ask_again

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUFFIX = ".calls"
HEADER = "of"
"""The header that a run gives: a queue may add others of its own."""


@dataclass(slots=True)
class RecordedCall:
    """One recorded call of one thread; `ret` and `result` are None where it did not come back.

    `dead` is when its process was seen dead, where that was killed; `error` is what was raised, or "answered False".
    """

    process: str
    number: int
    kind: str
    args: dict[str, Any]
    call: int
    ret: int | None = None
    result: Any = None
    error: str | None = None
    dead: int | None = None

    def __str__(self) -> str:
        if self.kind == "push_many":
            return f"{self.process}: push_many({[item['work'] for item in self.args['items']]!r})"
        told = [show_argument(name, value) for name, value in self.args.items() if value not in (None, 0)]
        return f"{self.process}: {self.kind}({', '.join(told)})"

    @property
    def answer(self) -> str:
        """What it came to, in a few words."""
        if self.error is not None:
            return self.error
        match self.kind:
            case "push" if self.result:
                return show_answer(self.result)
            case "push_many" if self.result:
                return f"[{', '.join(map(show_answer, self.result))}]"
            case "claim" if self.result:
                return repr(self.result["work"])
        return repr(self.result)


class Log:
    """The file of one thread. Only this thread writes to it."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        self.number = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(folder / f"{process}{SUFFIX}", flags, 0o600)

    def begin(self, kind: str, args: Mapping[str, Any]) -> int:
        """A call is about to be made; its number in this file."""
        self.number += 1
        self._write([kind, args], time.monotonic_ns())
        return self.number

    def end(self, result: Any = None, error: str | None = None) -> None:
        """The call came back."""
        self._write([result, error], time.monotonic_ns())

    def close(self) -> None:
        """The file is let go."""
        os.close(self._fd)

    def _write(self, encode_id: list[Any], at: int) -> None:
        os.write(self._fd, json.dumps([*encode_id, at], ensure_ascii=True).encode() + b"\n")


class Recorder:
    """A client whose calls are written into a log; it answers and raises what the client does."""

    def __init__(self, client: Client, log: Log) -> None:
        self.client = client
        self.log = log
        self._claims: dict[Held, int] = {}

    def push(self, item: Item) -> Answer:
        """The item was pushed."""
        with self._call("push", encode_pushed(item, self.client.promises)) as came:
            answer = self.client.push(
                item.work,
                key=item.key,
                priority=item.priority,
                not_before=item.not_before,
                headers=item.headers or None,
            )
            came(encode_answer(answer))
        return answer

    def push_many(self, items: list[Item]) -> list[Answer] | None:
        """The items were pushed together."""
        args = {"items": [encode_pushed(item, self.client.promises) for item in items]}
        with self._call("push_many", args) as came:
            answers = self.client.push_many(items)
            came(None if answers is None else [encode_answer(answer) for answer in answers])
        return answers

    def claim(self, *, lease_for: timedelta, patience: float = 0, wait: timedelta | None = None) -> Held | None:
        """What was handed out, or None; with `patience`, in seconds, None only after asking for so long.

        With `wait` the queue itself is asked to wait, once.
        """
        args = {"lease": encode_length(lease_for), **({"patience": patience} if patience else {})}
        if wait is not None:
            args["wait"] = encode_length(wait)
        with self._call("claim", args) as came:
            held = self.client.claim(lease_for=lease_for, wait=wait)
            again = ask_again(patience)
            while held is None and next(again, False):
                held = self.client.claim(lease_for=lease_for)
            came(None if held is None else encode_held(held, self.client.promises))
        if held is not None:
            self._claims[held] = self.log.number
        return held

    def ack(self, held: Held) -> None:
        """The task is done."""
        with self._call("ack", {"claim": self._claims[held]}) as came:
            self.client.ack(held)
            came(True)

    def release(self, held: Held, *, not_before: datetime | None = None) -> None:
        """The task was given back."""
        with self._call("release", {"claim": self._claims[held], "not_before": encode_instant(not_before)}) as came:
            self.client.release(held, not_before=not_before)
            came(True)

    def extend(self, held: Held, *, lease_for: timedelta) -> Held:
        """The task is held for so long from now; use what is returned from now on."""
        number = self._claims[held]
        with self._call("extend", {"claim": number}) as came:
            longer = self.client.extend(held, lease_for=lease_for)
            came(True)
        self._claims[longer] = number
        return longer

    def dead_letter(self, held: Held) -> None:
        """The task was set aside."""
        with self._call("dead_letter", {"claim": self._claims[held], "id": encode_name(held.id)}) as came:
            self.client.dead_letter(held)
            came(True)

    def redrive(self, id: Any) -> None:
        """The task was asked to wait again."""
        with self._call("redrive", {"id": encode_name(id)}) as came:
            came(self.client.redrive(id))

    def cancel(self, id: Any, work: Any) -> None:
        """The task of that work was asked to go."""
        with self._call("cancel", {"id": encode_name(id), "work": work}) as came:
            came(self.client.cancel(id))

    def count(self) -> None:
        """How many tasks there are in each state was told."""
        with self._call("count", {}) as came:
            came(self.client.count())

    def close(self) -> None:
        """The client was closed."""
        with self._call("close", {}) as came:
            self.client.close()
            came(None)

    @contextmanager
    def _call(self, kind: str, args: Mapping[str, Any]) -> Iterator[Callable[[Any], None]]:
        """The call is in the log, and what it came to: an answer, or what was raised."""
        with record(self.log, kind, args) as came:
            yield came


@contextmanager
def record(log: Log, kind: str, args: Mapping[str, Any]) -> Iterator[Callable[[Any], None]]:
    """What the block does is one call in the log; it tells what the call came to by calling what it is given."""
    results: list[Any] = []
    log.begin(kind, args)
    try:
        yield results.append
    except Refused as refused:
        cause = refused.cause
        log.end(error="answered False" if cause is None else f"{type(cause).__name__}: {cause}"[:500])
        raise
    except Exception as error:
        log.end(error=f"{type(error).__name__}: {error}"[:500])
        raise
    log.end(results[0] if results else None)


@dataclass(slots=True)
class Recording:
    """The calls of a run, in the order in which they began, and when each killed process was seen dead."""

    calls: list[RecordedCall] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)


def load(folder: Path, deaths: Mapping[str, int] | None = None) -> Recording:
    """The recording that the logs in the folder tell of. A line that a kill has cut is no line."""
    seen = dict(deaths or {})
    calls = [call for file in sorted(folder.glob(f"*{SUFFIX}")) for call in _read(file, seen)]
    joined = {call.args["child"]: call.ret for call in calls if call.kind == "join" and call.ret is not None}
    for call in calls:
        if call.process in joined and call.dead is None:
            call.dead = seen[call.process] = joined[call.process]  # a forked child ends when it is seen to have left
    return Recording(sorted(calls, key=lambda call: call.call), seen)


def _read(file: Path, deaths: Mapping[str, int]) -> list[RecordedCall]:
    process = file.name.removesuffix(SUFFIX)
    calls = calls_of(process, map(json.loads, file.read_bytes().split(b"\n")[:-1]))
    for call in calls:
        call.dead = deaths.get(process)
    return calls


def calls_of(process: str, lines: Iterable[list[Any]]) -> list[RecordedCall]:
    """The calls that the lines of one log tell of."""
    calls: list[RecordedCall] = []
    for first, second, at in lines:
        if calls and calls[-1].ret is None:
            calls[-1].result, calls[-1].error, calls[-1].ret = first, second, at
        else:
            calls.append(RecordedCall(process, len(calls), first, second, at))
    return calls


def pushes_added(call: RecordedCall) -> int:
    """How many tasks the call has added, as far as it says."""
    if call.error is not None or call.ret is None:
        return 0
    if call.kind == "push":
        return int(call.result["added"] is not False)
    if call.kind == "push_many":
        return sum(answer["added"] is not False for answer in call.result or ())
    return 0


def show_argument(name: str, value: Any) -> str:
    """An argument as a report shows it: lengths and instants are written down in nanoseconds."""
    match name:
        case "work" | "id":
            return repr(value)
        case "lease" | "wait" | "by":
            return f"{name}={NANOSECONDS.length(value)}"
        case "not_before":
            return f"{name}={EPOCH + timedelta(microseconds=value // 1000)}"
    return f"{name}={value!r}"


def show_answer(answer: Mapping[str, Any]) -> str:
    """What a push said, as a report shows it."""
    return {True: "added", False: "not added"}.get(answer["added"], "None")


def encode_pushed(item: Item, promises: Collection[str]) -> dict[str, Any]:
    """What was pushed, as it is written down; its key and headers where it has any, and the queue takes them."""
    told = {"work": item.work, "priority": item.priority, "not_before": encode_instant(item.not_before)}
    if item.key is not None and "key" in promises:
        told["key"] = item.key
    if item.headers and "headers" in promises:
        told["headers"] = dict(item.headers)
    return told


def encode_answer(answer: Answer) -> dict[str, Any]:
    """What a push said, as it is written down."""
    return {"added": answer.added, "id": encode_id(answer.id)}


def encode_held(held: Held, promises: Collection[str]) -> dict[str, Any]:
    """What was handed out, as it is written down; of its headers, where the queue tells them, the run's own."""
    id, name = encode_id(held.id), encode_name(held.id)
    told = {"work": held.work, "id": id, "name": name, "attempts": held.attempts}
    if "headers" in promises and (headers := read_headers(held.raw)) is not None:
        told["headers"] = {HEADER: headers[HEADER]} if HEADER in headers else {}
    return told


def encode_id(id: Any) -> str | None:
    """An id, as it is written down."""
    return None if id is None else str(id)


def encode_name(id: Any) -> int | str | None:
    """An id by which another client may name the task, where it can be told as it is, or None."""
    return id if isinstance(id, (int, str)) else None


def encode_instant(when: datetime | None) -> int | None:
    """Nanoseconds since 1970."""
    return None if when is None else (when - EPOCH) // timedelta(microseconds=1) * 1000


def encode_length(length: timedelta) -> int:
    """A length of time as it is written down."""
    return length // timedelta(microseconds=1) * 1000
