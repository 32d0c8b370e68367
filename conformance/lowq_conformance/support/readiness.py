"""Which of several files have something to be read, whatever their numbers are.

`select.select` refuses a file whose number is 1024 or more, and a process that tests a queue without `close` comes to
have as many. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from math import inf
from typing import Protocol, TypeVar


class HasFileno(Protocol):
    """What has the number of an open file."""

    def fileno(self) -> int:
        """The number."""
        ...


F = TypeVar("F", bound="int | HasFileno")


def find_readable(files: Sequence[F], seconds: float = inf) -> list[F]:
    """Those that can be read or have ended, as soon as there is one; none when the seconds are over."""
    poll = select.poll()
    numbers = {file if isinstance(file, int) else file.fileno(): file for file in files}
    for number in numbers:
        poll.register(number, select.POLLIN)
    found = poll.poll(None if seconds == inf else max(0.0, 1000 * seconds))
    return [numbers[number] for number, _ in found]
