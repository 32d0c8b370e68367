"""What goes wrong where two clocks meet.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from lowq.backend import LowqError


class ClockError(LowqError):
    """Two clocks would both say what time it is, or the one that was asked for cannot run."""
