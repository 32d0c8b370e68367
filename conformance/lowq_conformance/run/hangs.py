"""Says that a call of the queue's does not return, which one, and at which line it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lowq_conformance.run.hosts import Host
from lowq_conformance.subject.program import SILENT, read_open_call
from lowq_conformance.support.stacks import Frame

OWN = ("time.sleep(", "#", "the next turn of the handler")
"""What the suite itself does between calls of the queue's, as a journal has it."""

SLOW = 0.02
"""Seconds that a call takes at least of a queue that is slow."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A call that does not return, in words; nothing where none is known."""

    told: str = ""


def look_at(host: Host, *, loading: bool) -> Halt:
    """Where the host's process stands in a call of the queue's that was made `SILENT` seconds ago or earlier.

    What is done while the target is loaded is told by its stack alone; else it takes a call that has not returned.
    """
    call = _open_call(host)
    if not loading and not call:
        return Halt()
    frames = host.ask()
    if not frames and loading:
        return Halt()
    what = "loading it has not come to an end" if loading else f"{call} has not returned"
    return Halt(f"{what} for {SILENT:g} seconds{_tell_stack(frames)}")


def is_slow(host: Host, within: float) -> bool:
    """Whether the test that did not end within so many seconds has been answered all the time, but slowly.

    Then no call hangs: there are many of them, on a slow queue or a slow machine. Where they were quick, it is what
    they answered that keeps the test from its end.
    """
    try:
        since = time.time() - host.journal.stat().st_mtime
        calls = host.journal.read_bytes().count(b"\n")
    except OSError:
        return False
    return since < min(SILENT, within / 2) and calls < within / SLOW


def _open_call(host: Host) -> str:
    """The call of the queue's that has not returned for so long, or nothing."""
    try:
        if time.time() - host.journal.stat().st_mtime < SILENT:
            return ""
        call = read_open_call(str(host.journal))
    except OSError:
        return ""
    return "" if call.startswith(OWN) or call.endswith(" ends") else call


def _tell_stack(frames: list[Frame]) -> str:
    """The calls, the innermost first."""
    return "; it stands at" + "".join(f"\n    {frame}" for frame in frames) if frames else ""
