"""Keeps Hypothesis from drawing constants that stand in the modules that are imported.

It parses the source of all modules that are imported from outside site-packages, in each process anew, to draw the
numbers that stand there now and then. That takes ten times as long as a run's programs do, and makes what a seed
draws depend on where the suite is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

HOME, READER = "hypothesis.internal.conjecture.providers", "_get_local_constants"
"""Where Hypothesis, since 6.131, reads them; it has no setting for that, and versions that have no such function
draw nothing from modules."""


@contextmanager
def ignore() -> Iterator[None]:
    """No module is read meanwhile."""
    try:
        home: Any = import_module(HOME)
        none = type(home._local_constants)()
        reader = getattr(home, READER)
    except (ImportError, AttributeError, TypeError):
        yield
        return
    setattr(home, READER, lambda: none)
    try:
        yield
    finally:
        setattr(home, READER, reader)
