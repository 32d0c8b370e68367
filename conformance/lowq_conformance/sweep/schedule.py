"""A schedule: which call stands still where, and which one runs meanwhile; its spelling makes exactly it again.

`claim@212,claim` says: a client's `claim()` stands still before line 212 of the file in which its class is, another
client's `claim()` runs, and the first goes on. `claim@rows.py:61#2+1` says more of the point: another file of the
queue's, the second time that the call comes there, and the first further step (such as a rename) within that line.
With `claim@212,claim@230` the second call stands still, too, and goes on when the first is over. A third call, as in
`claim@212,release,claim` or `claim@212,claim@230,claim`, is another client's, and runs after the second one or while
that stands still. Words that follow say in which state, and by what sort of clients: `ack@40,claim,late,threads`;
with `ack@40,ack,worn=99` 99 tasks have gone through before, so that a call does what it does now and then only; with
`push@40,push,full` there is room for one task more.
With `push@40,claim,stopped` the process of the first client is stopped there until the second call is over, for as
long as the profile says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

How = Literal["processes", "threads", "fork", "coroutines"]
HOWS: tuple[How, ...] = ("processes", "threads", "fork", "coroutines")
CHANGES = ("extend", "cancel", "dead_letter", "redrive")
"""What a client may be doing beside what the histories of storms are made of."""
VERBS = ("push", "repush", "rekey", "batch", "claim", "ack", "release", "close", *CHANGES)
"""What a client may be doing; `repush` pushes a work that equals another one, `rekey` another work under its key."""
THREEFOLD = ("push", "repush", "claim", "ack", "release")
"""What one of three clients may be doing."""
LATE = "late"
"""The state in which a lease has run out, instead of the plain one."""
WORN = "worn"
"""The state in which so many tasks have gone through: pushed, claimed and acked one after the other."""
FULL = "full"
"""The state in which there is room for one task more."""
STOPPED = "stopped"
"""The first client does not go on as soon as the second one waits for it."""

CALL = re.compile(r"(?P<verb>[a-z_]+)(@((?P<file>[^@:,#+]+):)?(?P<line>\d+)(#(?P<time>\d+))?(\+(?P<step>\d+))?)?")


class BadSchedule(ValueError):
    """The text is no schedule."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a call as it is told of: the file's name, nothing for the client's own, and where in it."""

    file: str
    line: int
    time: int = 1
    step: int = 0

    def __str__(self) -> str:
        said = f"{self.file}:{self.line}" if self.file else f"{self.line}"
        said += f"#{self.time}" if self.time > 1 else ""
        return said + (f"+{self.step}" if self.step else "")

    def as_json(self) -> list[Any]:
        """The point as an actor is told of it."""
        return [self.file, self.line, self.time, self.step]


@dataclass(frozen=True, slots=True)
class Scene:
    """Two calls of two clients, or three of three, in the plain state, with a lease that has run out, when so many
    tasks have gone through before (`worn`), or where there is room for one task more (`full`)."""

    first: str
    second: str
    late: bool = False
    third: str = ""
    worn: int = 0
    full: bool = False

    @property
    def verbs(self) -> tuple[str, ...]:
        """What each client does."""
        return (self.first, self.second, *([self.third] if self.third else []))

    @property
    def changes(self) -> bool:
        """Whether a client does what the histories of storms are not made of."""
        return not {*self.verbs}.isdisjoint(CHANGES)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The first call stands still at `at`, the second runs, to `second_at` if that is given, then the third where
    there is one, and the first goes on.

    `how` is None where it is not said: as is promised. `stopped`: the first process is stopped (SIGSTOP), and goes on
    when the second call is over or the time is.
    """

    scene: Scene
    at: Point | None
    second_at: Point | None = None
    how: How | None = None
    stopped: bool = False

    def __str__(self) -> str:
        calls = zip(self.scene.verbs, (self.at, self.second_at, None), strict=False)
        words = [verb if at is None else f"{verb}@{at}" for verb, at in calls]
        worn = f"{WORN}={self.scene.worn}"
        states = {LATE: self.scene.late, worn: self.scene.worn, FULL: self.scene.full}
        more = states | {str(self.how): self.how, STOPPED: self.stopped}
        return ",".join([*words, *(word for word, said in more.items() if said)])


def parse(text: str) -> Schedule:
    """The schedule that is spelled so. Raises BadSchedule."""
    first, *words = [word.strip() for word in text.split(",")]
    if not words:
        raise BadSchedule(f"{text!r} is no schedule; expected two calls, such as claim@212,claim")
    calls = [_call(word, text) for word in (first, words[0])]
    how: How | None = None
    late = full = stopped = False
    third, worn = "", 0
    if len(words) > 1 and words[1].partition("@")[0] in VERBS:
        third = _third(calls, words.pop(1), text)
    for word in words[1:]:
        if word == LATE:
            late = True
        elif word == FULL:
            full = True
        elif word == STOPPED:
            stopped = True
        elif word in HOWS:
            how = word
        elif (number := word.removeprefix(f"{WORN}=")).isdecimal():
            worn = int(number)
        else:
            known = ", ".join((LATE, f"{WORN}=NUMBER", FULL, STOPPED, *HOWS))
            raise BadSchedule(f"{text!r} is no schedule: {word!r} is none of {known}")
    if stopped and (calls[0][1] is None or calls[1][1] is not None or how not in (None, "processes")):
        raise BadSchedule(
            f"{text!r} is no schedule: {STOPPED} takes a process, and the line at which the first one is"
        )
    scene = Scene(calls[0][0], calls[1][0], late, third, worn, full)
    if third and (stopped or how in ("fork", "coroutines")):
        raise BadSchedule(f"{text!r} is no schedule: three clients are processes or threads, and none is {STOPPED}")
    if full and not {*scene.verbs} <= {"push", "batch"}:
        raise BadSchedule(f"{text!r} is no schedule: {FULL} goes with push and batch")
    if stopped and scene.changes:
        raise BadSchedule(f"{text!r} is no schedule: {STOPPED} goes with none of {', '.join(CHANGES)}")
    return Schedule(scene, calls[0][1], calls[1][1], how, stopped)


def _third(calls: Sequence[tuple[str, Point | None]], word: str, text: str) -> str:
    verb, at = _call(word, text)
    if at is not None:
        raise BadSchedule(f"{text!r} is no schedule: the third call stands still nowhere; expected {verb}")
    if outside := {*(each for each, _ in calls), verb} - {*THREEFOLD}:
        raise BadSchedule(f"{text!r} is no schedule: of three calls none is {', '.join(sorted(outside))}")
    return verb


def _call(word: str, text: str) -> tuple[str, Point | None]:
    found = CALL.fullmatch(word)
    if found is None or found["verb"] not in VERBS:
        raise BadSchedule(f"{text!r} is no schedule: {word!r} is none of the calls {', '.join(VERBS)}")
    if found["line"] is None:
        return found["verb"], None
    return found["verb"], Point(
        found["file"] or "", int(found["line"]), int(found["time"] or 1), int(found["step"] or 0)
    )
