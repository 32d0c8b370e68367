"""Leaves the parent's connections to servers untouched in a forked child.

A connection belongs to the process that made it: two that speak over one would read each other's answers.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import Protocol


class Connected(Protocol):
    """Whatever holds a connection to a server."""

    def leave_to_parent(self) -> None:
        """In a forked child: nothing of the connection is left here; neither server nor parent notices."""
        ...


_all: dict[int, weakref.ref[Connected]] = {}


def look_after(connected: Connected) -> None:
    """When this process forks, the child leaves what it has of this one to the parent."""
    _all[id(connected)] = weakref.ref(connected, partial(_all.pop, id(connected)))


def forget(connected: Connected) -> None:
    """There is nothing left of it to leave."""
    _all.pop(id(connected), None)


def _after_fork_in_child() -> None:
    for each in list(_all.values()):
        if (connected := each()) is not None:
            connected.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
