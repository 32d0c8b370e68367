"""A file that is written whole or not at all, and known to be writable before the work that fills it begins."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from types import TracebackType
from typing import Self

from lowq_conformance.support.text import printable


class Unwritable(OSError):
    """The file cannot be written; the text says which and why."""


class OutFile:
    """A new file beside `path`, which takes its place when it is written; one that was not written leaves nothing."""

    def __init__(self, path: str) -> None:
        """Raises Unwritable."""
        self.path = path
        self._written = False
        try:
            self._place = os.path.realpath(path)
            folder, name = os.path.split(self._place)
            self._new = os.path.join(folder, f".{name[:60]}.{secrets.token_hex(4)}")
            _look(self._place)
            self._fd = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise Unwritable(f"{printable(path)} cannot be written: {why}") from error

    def write(self, text: str) -> None:
        """The file has this text, in UTF-8. Raises Unwritable."""
        self._written = True
        try:
            with open(self._fd, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write(text)
            os.replace(self._new, self._place)
        except OSError as error:
            raise Unwritable(f"{self.path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self._written:
            os.close(self._fd)
        self._remove()

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._new)


def _look(place: str) -> None:
    """Raise OSError where something is in the place that must not be replaced."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise OSError(0, "it is no regular file")
        if not os.access(place, os.W_OK):
            raise PermissionError(0, "it is read-only")
