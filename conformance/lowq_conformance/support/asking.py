"""Asks again for what may come a little later: for so long, and so often at least, as a machine may stand still."""

from __future__ import annotations

import time
from collections.abc import Iterator

OFTEN = 5
PAUSE = 0.01
"""Seconds between two times."""


def ask_again(seconds: float) -> Iterator[bool]:
    """True each time that it is to be asked once more, after a pause; never where there are no seconds for it."""
    end, asked = time.monotonic() + seconds, 0
    while seconds > 0 and (asked < OFTEN or time.monotonic() < end):
        time.sleep(PAUSE)
        yield True
        asked += 1
