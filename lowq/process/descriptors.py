"""Descriptors that something of ours has open, which a program that closes all it finds takes away.

Whoever owns them does not notice: whatever gets their numbers next is read, written, locked and closed in their
place. Therefore the numbers are known, and one is looked at before they are used. What has lost any is closed while
files that can be neither locked nor written stand at all of its numbers.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lowq import kernel
from lowq.process.forking import file_at

File = tuple[int, int]
"""Device and inode."""

_pending: dict[int, File] = {}
"""Numbers that their owner may close later, as SQLite does with its last connection, though others have them now."""


class Descriptors:
    """Which numbers were opened, and which file each was."""

    __slots__ = ("_file", "_highest", "_known")

    def __init__(self, known: Mapping[int, File] | None = None) -> None:
        self._known = dict(known or {})
        self._highest = max(self._known, default=-1)
        self._file = self._known.get(self._highest)

    def is_highest_lost(self) -> bool:
        """Whether the highest number is another file's, or nobody's: as after `closerange(n, …)`."""
        return self._file is not None and file_at(self._highest) != self._file

    def are_lost(self) -> bool:
        """Whether any of the numbers is another file's, or nobody's."""
        return any(file_at(number) != file for number, file in self._known.items())

    @contextmanager
    def made_harmless(self) -> Iterator[None]:
        """Where any is lost, their owner can neither lock nor write by any of them within, and closes nobody's files.

        What others have opened at these numbers is theirs again afterwards; a thread that uses it meanwhile gets an
        error.
        """
        if not self.are_lost():
            yield
            return
        numbers = self._known | _pending
        self._known, self._file, self._highest = {}, None, -1
        above = max(numbers) + 1
        null = kernel.open_descriptor(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # a lock to write is refused, too
        harmless = fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, above)
        os.close(null)
        theirs: dict[int, tuple[int, bool]] = {}
        try:
            for number, file in numbers.items():
                if file_at(number) not in (None, file):
                    theirs[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above), os.get_inheritable(number)
                os.dup2(harmless, number, inheritable=False)
            yield
        finally:
            for number, file in numbers.items():
                is_closed = file_at(number) is None
                if number in theirs:
                    kept, inheritable = theirs[number]
                    os.dup2(kept, number, inheritable=inheritable)
                    os.close(kept)
                if is_closed:
                    _pending.pop(number, None)
                else:
                    _pending[number] = file
            os.close(harmless)
