"""A queue in a folder: one file for each task, and every step is a rename or a link, which the kernel does at once.

A file's name is its place: the priority, turned round so that names sort as tasks are claimed, and a number. It lies
in `waiting` or in `claimed`. The last number is the length of the file `numbers`, whose lock pushes take in turn: a
number taken from the listings could be given twice, while a task moves from one to the other. The name ends with how
often the task was given back: who has listed it before takes it no more, because others may be before it by then, and
who gave it back can settle it no more.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from lowq import QueueClosed
from lowq_conformance.queues.sound.values import check_priority, encode

HIGHEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task in hand: its work, and the name of its file."""

    work: Any
    file: str


class Client:
    """A client of the queue in one folder."""

    def __init__(self, folder: Path) -> None:
        self._waiting, self._claimed, self._new = (folder / name for name in ("waiting", "claimed", "new"))
        for each in (self._waiting, self._claimed, self._new):
            each.mkdir(parents=True, exist_ok=True)
        self._numbers = folder / "numbers"
        self._closed = False

    def push(self, work: Any, *, priority: int = 0) -> None:
        """The work waits, behind all others of its priority."""
        self._check_open()
        check_priority(priority)
        text = encode(work)
        new = self._new / token_hex(8)
        new.write_text(text, encoding="utf-8", newline="")
        with open(self._numbers, "ab") as numbers:
            fcntl.flock(numbers, fcntl.LOCK_EX)
            numbers.write(b".")
            numbers.flush()
            os.link(new, self._waiting / f"{HIGHEST - priority:010}-{os.fstat(numbers.fileno()).st_size:020}-0")
        new.unlink()

    def claim(self) -> Claimed | None:
        """The first task that nobody else took is in hand, or None: nothing waited."""
        self._check_open()
        while names := sorted(os.listdir(self._waiting)):
            name = names[0]  # and when somebody was faster, what is first by then
            with suppress(FileNotFoundError):
                os.rename(self._waiting / name, self._claimed / name)
                return Claimed(json.loads((self._claimed / name).read_text(encoding="utf-8")), name)
        return None

    def ack(self, claimed: Claimed) -> None:
        """The task is gone."""
        self._check_open()
        os.unlink(self._claimed / claimed.file)

    def release(self, claimed: Claimed) -> None:
        """The task waits again in its old place."""
        self._check_open()
        place, _, times = claimed.file.rpartition("-")
        os.rename(self._claimed / claimed.file, self._waiting / f"{place}-{int(times) + 1}")

    def close(self) -> None:
        """Anything else afterwards raises."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise QueueClosed("this client was closed; open the queue again")


class Folder:
    """A folder of renamed files: order, priorities and giving back, but no leases, keys or times."""

    promises: ClassVar[set[str]] = set(
        "fifo priority fenced shared_lease release json prompt close names persistent threads processes crash".split()
    )

    def open(self, place: Path, name: str = "default") -> Client:
        """A client of the queue `name` at `place`."""
        return Client(place / name.encode().hex())
