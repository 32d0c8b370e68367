"""A pytest that a test starts, or a program that does: without the outer one's settings, and quick to start."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points

NEEDED = frozenset({"lowq", "xdist", "xdist.looponfail"})


@cache
def _installed() -> frozenset[str]:
    return frozenset(plugin.name for plugin in entry_points(group="pytest11"))


def leave_out(*, but: tuple[str, ...] = ()) -> list[str]:
    """The options with which pytest loads, of the installed plugins, lowq's, pytest-xdist and those named alone.

    To import all the others, Hypothesis with them, takes several times as long as a short test run.
    """
    return [f"-pno:{name}" for name in sorted(_installed() - NEEDED - {*but})]


def environment() -> dict[str, str]:
    """This process's, without the settings of its pytest; a pytest that is started in it leaves out plugins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTEST_ADDOPTS": " ".join(leave_out())}
