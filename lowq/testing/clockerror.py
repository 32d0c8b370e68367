"""The error that is raised where two clocks of a test would both say the time, or one cannot run.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from lowq.backend import LowqError


class ClockError(LowqError):
    """Two clocks would both say what time it is, or the one that was asked for cannot run."""
