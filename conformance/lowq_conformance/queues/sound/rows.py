"""The rows of a queue in a file of JSON lines, and the lock under which one operation after another changes them.

A line holds the rows that one operation changed, so that a line cut off by a kill is an operation that did not
happen. Each client first replays what others have written.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lowq import BackendUnavailable, Clock, LowqError, QueueClosed, State

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    """A task as it is written; times are microseconds since 1970.

    `due` is when something scheduled falls due or a lease ends; `token` is the latest claim's until it is settled;
    `pushed` is when, which only some broken queues look at, and `lost` how many leases ran out, for who counts them.
    """

    text: str
    key: str | None
    priority: int
    not_before: int | None
    pushed: int = 0
    number: int = 0
    state: str = "ready"
    due: int | None = None
    attempts: int = 0
    lost: int = 0
    token: str | None = None
    reason: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Rows:
    """What one client knows of the file, under its lock all that there is."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        self.name, self.clock, self.pid, self.mutex = name, clock, os.getpid(), threading.Lock()
        self.fd: int | None = os.open(self.file(place), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.start_over()

    def start_over(self) -> None:
        """This client knows nothing, and reads the file anew; what it has not written has not happened."""
        self.replayed = 0
        self.rows: dict[int, Row] = {}
        self.by_state: dict[str, set[int]] = {state: set() for state in State}
        self.equals: dict[Hashable, set[int]] = {}
        self.changed: list[dict[str, Any]] = []
        self.last = 0

    def file(self, place: Path) -> Path:
        return place / f"{self.name.encode().hex()}.jsonl"

    def identity(self, row: Row) -> Hashable:
        """What equal tasks have in common."""
        return ("work", row.text) if row.key is None else ("key", row.key)

    def micros(self, instant: datetime) -> int:
        return (instant - EPOCH) // timedelta(microseconds=1)

    def rows_in(self, state: str) -> list[Row]:
        return [self.rows[number] for number in self.by_state[state]]

    def promote(self, now: int) -> None:
        """What fell due is ready, and so is what was leased for too long, which its holder may still settle."""
        for row in (*self.rows_in("scheduled"), *self.rows_in("leased")):
            if row.due is not None and row.due <= now:
                row.state, row.due = "ready", None
                self.write(row)

    @contextmanager
    def alone(self) -> Iterator[int]:
        """Nobody else is at the file meanwhile and this client knows all it holds; gives the queue's instant."""
        if self.pid != os.getpid():
            raise BackendUnavailable("this client belongs to the parent of the fork; open the queue again")
        with self.mutex:
            if self.fd is None:
                raise QueueClosed("this client was closed; open the queue again")
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX)
                self.replay(self.fd)
                now = self.micros(self.clock.now())
                self.promote(now)
                yield now
                self.flush(self.fd)
            except (LowqError, ValueError, TypeError):  # nothing but what fell due was changed
                self.flush(self.fd)
                raise
            except BaseException:  # of a signal's handler, which may come anywhere
                self.start_over()
                raise
            finally:
                fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        with self.mutex:
            if self.fd is not None:
                os.close(self.fd)
                self.fd = None

    def write(self, row: Row) -> None:
        self.keep(row)
        self.changed.append(vars(row).copy())

    def remove(self, row: Row) -> None:
        row.state = "gone"
        self.write(row)

    def keep(self, row: Row) -> None:
        """This client knows the row; one that is gone leaves its number behind."""
        for numbers in self.by_state.values():
            numbers.discard(row.number)
        self.last = max(self.last, row.number)
        self.rows[row.number] = row
        equals = self.equals.setdefault(self.identity(row), set())
        if row.state == "gone":
            del self.rows[row.number]
            equals.discard(row.number)
        else:
            self.by_state[row.state].add(row.number)
            equals.add(row.number)

    def replay(self, fd: int) -> None:
        data = b""
        while chunk := os.pread(fd, 1 << 20, self.replayed + len(data)):
            data += chunk
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # its writer was killed
            os.ftruncate(fd, self.replayed + len(whole))
        for line in whole.split(b"\n")[:-1]:
            for fields in json.loads(line):
                self.keep(Row(**fields))
        self.replayed += len(whole)

    def flush(self, fd: int) -> None:
        changed, self.changed = self.changed, []
        line = json.dumps(changed).encode() + b"\n" if changed else b""
        while line:  # a file that may not grow takes a part, and says so when it is asked for the rest
            written = os.write(fd, line)
            self.replayed += written
            line = line[written:]
