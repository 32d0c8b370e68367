"""A queue in a directory for tests, and what is in the directory."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from lowq import Backend, Lease, open_backend

MINUTE = timedelta(minutes=1)


def opened(path: Path, **options: Any) -> Backend:
    """A client of the queue in that directory, which waits for no disk unless it is told to."""
    return open_backend(f"files://{path}", **{"durability": "none", **options})


def claimed(queue: Backend) -> Lease:
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    return lease


def drained(queue: Backend) -> list[Any]:
    """The works of all tasks, which are done."""
    works = []
    while (lease := queue.claim(lease_for=MINUTE)) is not None:
        works.append(lease.work)
        queue.ack(lease)
    return works


def tasks_in(path: Path) -> list[str]:
    """The names of the task files, as a listing shows them."""
    return sorted(each.name for each in path.iterdir() if each.suffix == ".json")


def file_of(path: Path, work: Any) -> Path:
    """The task's file."""
    return next(each for each in path.glob("*.json") if json.loads(each.read_text())["work"] == work)


def bad(path: Path) -> dict[str, str]:
    """What was set aside, and why."""
    return {
        each.name.removesuffix(".why.txt"): each.read_text().partition(": ")[2].strip()
        for each in (path / "bad").glob("*.why.txt")
    }


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "cut": (b'{\n "work": {"a', "it is not JSON, or was cut"),
    "cut text": ('{"work": "é'.encode()[:-1], "it is not UTF-8"),
    "binary": (bytes(range(256)), "it is not UTF-8"),
    "a list": (b"[1]", "expected a JSON object, found list '[1]'"),
    "no work": (b"{}", 'the field "work" is missing'),
    "not a number": (b'{"work": NaN}', "NaN is not JSON"),
    "too large for a number": (b'{"work": [1, -1e999]}', "-1e999 is too large for a number"),
    "deeper than a push takes": (b'{"work": ' + b"[" * 201 + b"]" * 201 + b"}", "nested more than 200 deep"),
    "deep": (b'{"work": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is not JSON, or was cut"),
    "a key that is a number": (b'{"work": 1, "key": 7}', "key: expected str, found int '7'"),
    "a time that is none": (b'{"work": 1, "not_before": "soon"}', "not_before: 'soon' is no time like"),
    "the year 10000": (b'{"work": 1, "not_before": "10000-01-01T00:00:00+00:00"}', "is no time like"),
    "headers that are a text": (b'{"work": 1, "headers": "a"}', "headers: expected dict, found str 'a'"),
    "a header that is a number": (b'{"work": 1, "headers": {"a": 1}}', "headers: 'a': expected text, found int '1'"),
}
"""What is no task, and what is said of it."""
