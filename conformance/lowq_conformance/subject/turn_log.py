"""The log in which a handler writes the begin and the end of each turn, and how it is read.

One line for each, written by one `write` to the end of the file: whatever is killed, and when, the log is true.
Times are `time.monotonic_ns()`, one clock for all processes of a machine.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowq_conformance.support.channel import read_events

SHOWN = 200
"""Characters of an error that are written down."""


@dataclass(slots=True)
class Turn:
    """A handler's turn at one work; `end` is None while it is not over, `error` what it raised.

    `untold`: the work is too deep, or has too many digits, to be written down here, which the queue cannot help.
    """

    name: str
    work: Any
    pid: int
    begin: int
    end: int | None = None
    untold: bool = False
    error: str | None = None

    @property
    def done(self) -> bool:
        """Whether the handler returned."""
        return self.end is not None and self.error is None


DEEPEST = 200
"""How deep a work may be that is written down: what writes and reads it is recursive."""


def depth(work: Any) -> int:
    """How deep the work is nested, up to one more than DEEPEST; found without recursion."""
    level, deep = [work], 0
    while deep <= DEEPEST and (
        level := [
            part
            for value in level
            if isinstance(value, (list, tuple, dict))
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    ):
        deep += 1
    return deep


class TurnLog:
    """The log that is kept in a folder, for those who write in it and for those who read."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder, "turns")
        self._turns: dict[str, Turn] = {}
        self._read = 0

    def begin(self, work: Any) -> str:
        """A turn at the work has begun; what it is called in the log."""
        now = time.monotonic_ns()
        turn = f"{os.getpid()}-{threading.get_ident()}-{now}"
        line = ["begin", turn, now, os.getpid(), work]
        try:
            if depth(work) > DEEPEST:
                raise RecursionError
            self._write(line)
        except (RecursionError, ValueError, TypeError):
            self._write([*line[:-1], None, "untold"])
        return turn

    def end(self, turn: str, error: BaseException | None = None) -> None:
        """The turn is over: the handler returned, or raised the error."""
        said = None if error is None else f"{type(error).__name__}: {str(error)[:SHOWN]}"
        self._write(["end", turn, time.monotonic_ns(), said])

    def turns(self) -> list[Turn]:
        """Every turn, in the order in which they began."""
        for line in self._lines():
            match line:
                case ["begin", turn, at, pid, work, *untold]:
                    self._turns[turn] = Turn(turn, work, pid, at, untold=bool(untold))
                case ["end", turn, at, error]:
                    self._turns[turn].end, self._turns[turn].error = at, error
        return list(self._turns.values())

    def _lines(self) -> list[Any]:
        """What whole lines say that were not read before."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole)
        return list(read_events(whole))

    def _write(self, line: list[Any]) -> None:
        """The line stands at the end. Raises FileNotFoundError where the folder is gone."""
        data = b"\n" + json.dumps(line).encode() + b"\n"  # what was torn off before it is a line of its own
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(f"{self._path}: the disk is full")
        finally:
            os.close(fd)
