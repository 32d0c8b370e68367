"""The handler that a harness's workers run: it logs its turns and does what its work says.

It is importable, can be pickled, and is nothing but the name of a folder, so that it travels in any way: with a fork,
pickled to another interpreter, or made anew there by `Handler(folder)`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowq_conformance.subject import freezing as ending
from lowq_conformance.subject.turn_log import TurnLog

LONGEST = 60.0
"""Seconds after which a turn that waits to be let go on gives up, so that no worker outlives its test for long."""
LOOK = 0.001


class ToldToFail(Exception):
    """The work told its handler to fail."""


class Unpicklable(ToldToFail):
    """An error that cannot be sent to another process."""

    def __reduce__(self) -> Any:
        raise TypeError("this error cannot be pickled")


ERRORS: Mapping[str, ToldToFail] = {
    "silent": ToldToFail(),
    "lone surrogate": ToldToFail("no such file: \udce4.txt"),  # as os.fsdecode makes it of a name that is no UTF-8
    "large": ToldToFail("x" * 200_000),
    "unpicklable": Unpicklable("told to fail"),
}
"""The errors of handlers that are told to fail in a special way."""


@dataclass(frozen=True, slots=True)
class Handler:
    """Runs one work. `folder` is where its log is; with `gated`, each turn waits until it is let go on.

    A work that is an object is obeyed: ``{"does": "fail"}`` raises, and with "as" one of ERRORS, ``{"does":
    "wait", "at": gate}`` waits until the gate is open, and ``{"does": "take", "seconds": s}`` takes so long. When
    its turn is over, ``{"does": "freeze", "after": [kind, n], "at": gate}`` opens the gate and lets its process
    stand still, at the n-th "line" or "step" or n "seconds" later, once, and with "first" it waits at that gate
    before; and ``{"does": "count", "at": name}`` has lines and steps counted. With "of", the files and folders of
    the queue's own code, the lines are its "own" ones only, counted until the next turn, and with "once" each one
    when it is first run; with "fails" the turn fails. Any other work is nothing to do.
    """

    folder: str
    gated: bool = False

    def __call__(self, work: Any) -> None:
        ending.begin_turn()
        log = TurnLog(self.folder)
        turn = log.begin(work)
        try:
            if self.gated:
                self._wait(turn)
            self._obey(work)
        except BaseException as error:
            log.end(turn, error)
            if isinstance(error, ToldToFail):
                self._end(work)
            raise
        log.end(turn)
        self._end(work)

    def __repr__(self) -> str:
        return "handler"

    def open(self, gate: str) -> None:
        """Who waits at this gate goes on."""
        self._gate(gate).touch()

    def is_open(self, gate: str) -> bool:
        """Whether somebody has opened this gate."""
        return self._gate(gate).exists()

    def load_counts(self, name: str) -> tuple[int, int]:
        """How many lines and steps came after the turn that was to count them by this name."""
        return ending.read_counts(self._count(name))

    def _obey(self, work: Any) -> None:
        match work:
            case {"does": "fail", "first": str(gate)}:
                self._wait(gate)
                raise ToldToFail("told to fail")
            case {"does": "fail", "as": str(how)}:
                raise ERRORS[how]
            case {"does": "fail"}:
                raise ToldToFail("told to fail")
            case {"does": "wait", "at": str(gate)}:
                self._wait(gate)
            case {"does": "freeze" | "count", "first": str(gate)}:
                self._wait(gate)
                if work.get("fails"):
                    raise ToldToFail("told to fail")
            case {"does": "take", "seconds": float(seconds)}:
                time.sleep(seconds)

    def _end(self, work: Any) -> None:
        match work:
            case {"does": "freeze", "after": [str(kind), float(after) | int(after)], "at": str(gate)} if not (
                self.is_open(gate)
            ):
                ending.freeze(self._gate(gate), kind, after, work.get("of", []))
            case {"does": "count", "at": str(name)}:
                ending.count(self._count(name), work.get("of"), once=bool(work.get("once")))

    def _wait(self, gate: str) -> None:
        """Raises TimeoutError where nobody opens it, or the test is over."""
        end = time.monotonic() + LONGEST
        while not self.is_open(gate):
            if time.monotonic() > end or not Path(self.folder).exists():
                raise TimeoutError(f"nobody opened the gate {gate}")
            time.sleep(LOOK)

    def _gate(self, gate: str) -> Path:
        return Path(self.folder, f"gate {gate}")

    def _count(self, name: str) -> Path:
        return Path(self.folder, f"count {name}")
