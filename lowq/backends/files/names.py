"""The names of task files: a listing of the directory says which tasks there are, in which state, and in which order.

    ready-2147483647-0000000000000042-9f3ac2d1e07b-0.json
    scheduled-20261126T150405.123456Z-2147483647-0000000000000042-9f3ac2d1e07b-0.json
    leased-20261126T150405.123456Z-2147483647-0000000000000042-9f3ac2d1e07b-1-0123456789abcdef.json
    dead-2147483647-0000000000000042-9f3ac2d1e07b-5.json

State; until when, in UTC, where it is scheduled or leased; 2147483647 less the priority, so that higher ones come
first; the number of the task, which is its place among equals; the start of the digest that dedupes it; the claims so
far; and the token of the latest claim until it is settled. Every part but the last two has a fixed width.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from lowq.backend import State
from lowq.rules.origin import let_through_strange

TOP = 2**31 - 1
LAST_NUMBER = 10**15
MOST_ATTEMPTS = 10**9 - 1
_LAST_RANK = f"{2**32 - 1}"
DIGEST = 12
"""Characters of the digest in a name; where two agree in them, the files themselves are compared."""

_TASK = re.compile(
    r"(?:(ready|dead)|(scheduled|leased)-([0-9]{8}T[0-9]{6}\.[0-9]{6}Z))"
    r"-([0-9]{10})-([0-9]{16})-([0-9a-f]{12})-([0-9]{1,9})(?:-([0-9a-f]{16}))?\.json"
)
_MEANT = re.compile(r"(?:ready|dead|scheduled|leased)-[0-9].*\.json", re.DOTALL)
_OFFSETS = {"r": 6, "d": 5, "s": 34, "l": 31}
"""Where the rank begins, by the first letter of the state."""


class Name(NamedTuple):
    """The parts of a name; `due` is empty where the task is ready or dead, `token` where nobody claimed it."""

    state: str
    due: str
    rank: str
    number: str
    digest: str
    attempts: int = 0
    token: str = ""

    def __str__(self) -> str:
        due = f"-{self.due}" if self.due else ""
        token = f"-{self.token}" if self.token else ""
        return f"{self.state}{due}-{self.rank}-{self.number}-{self.digest}-{self.attempts}{token}.json"

    @property
    def priority(self) -> int:
        """The priority of the task, higher first."""
        return TOP - int(self.rank)

    def ready(self) -> Name:
        """The same task, ready."""
        return self._replace(state="ready", due="")


def parse(text: str) -> Name | None:
    """The parts of the name of a task file, or None where it is none."""
    match = _TASK.fullmatch(text)
    if match is None:
        return None
    plain, timed, due, rank, number, digest, attempts, token = match.groups()
    if due and moment(due) is None:
        return None
    if rank > _LAST_RANK or int(number) >= LAST_NUMBER:
        return None
    return Name(plain or timed, due or "", rank, number, digest, int(attempts), token or "")


def is_task(text: str) -> bool:
    """Whether `parse` finds this the name of a task file; in a tenth of the time, for a hundred thousand of them."""
    if _TASK.fullmatch(text) is None:
        return False
    start = _OFFSETS[text[0]]
    if text[start : start + 10] > _LAST_RANK or text[start + 11] != "0":
        return False
    return text[0] in "rd" or moment(due(text)) is not None


def is_meant(text: str) -> bool:
    """Whether somebody meant this to be the name of a task file, rightly or wrongly."""
    return _MEANT.fullmatch(text) is not None


def rank(priority: int) -> str:
    """What stands for a priority: of two, the higher has the text that sorts first."""
    return f"{TOP - priority:010}"


def stamp(instant: datetime) -> str:
    """What stands for an instant: of two, the earlier has the text that sorts first."""
    at = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    text = at.isoformat(timespec="microseconds")  # of this sort, the fastest: 2026-11-26T15:04:05.123456+00:00
    return f"{text[:4]}{text[5:7]}{text[8:13]}{text[14:16]}{text[17:26]}Z"


_read = datetime.fromisoformat


def moment(stamp: str) -> datetime | None:
    """The instant of a stamp, or None where there is none such."""
    try:
        return _read(stamp)
    except ValueError as error:
        let_through_strange(error)
        return None


def place(name: str) -> str:
    """Rank and number of a task file's name: of two ready tasks, the first to be claimed sorts first."""
    start = _OFFSETS[name[0]]
    return name[start : start + 27]


def number(name: str) -> str:
    """The number of a task file's name."""
    start = _OFFSETS[name[0]]
    return name[start + 11 : start + 27]


def digest(name: str) -> str:
    """The start of the digest of a task file's name."""
    start = _OFFSETS[name[0]]
    return name[start + 28 : start + 28 + DIGEST]


def due(name: str) -> str:
    """The stamp of the name of a scheduled or leased task."""
    start = _OFFSETS[name[0]]
    return name[start - 24 : start - 1]


STATES = {"r": State.READY, "d": State.DEAD, "s": State.SCHEDULED, "l": State.LEASED}
"""The states by their first letters, which are the first letters of the names."""
