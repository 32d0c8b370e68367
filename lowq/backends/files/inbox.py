"""Tasks that other programs drop into ``new/``: a file of JSON, renamed to a name that ends with ``.json``.

Each is taken in by the next call of any client, as a push of what it says; one that is wrong is set aside with the
reason. A wrong one that is younger than a few seconds may be one that somebody writes in place, and is left for then.
"""

from __future__ import annotations

import os

from lowq import kernel
from lowq.backends.files.content import Wrong, of_entry, read
from lowq.backends.files.folder import NEW, Folder
from lowq.backends.files.index import Index
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import Name, rank, stamp
from lowq.backends.files.standing import Standing, start_of
from lowq.clock import Clock, SystemClock, to_datetime, to_micros
from lowq.process.handlers import Suppressed, let_through
from lowq.rules.entry import Entry
from lowq.rules.origin import let_through_strange

_AT_ONCE = 64
"""So many are taken in by one call at most, for the others wait meanwhile."""
_YOUNG = 3.0
"""Seconds."""
_RACY = 0.1
"""Seconds within which a directory may change twice and have the same time."""


class Inbox:
    """What was dropped into one folder."""

    def __init__(self, folder: Folder, ledger: Ledger, standing: Standing, clock: Clock) -> None:
        self._folder = folder
        self._ledger = ledger
        self._standing = standing
        self._clock = clock
        self._path = os.path.join(folder.path, NEW)
        self._seen = 0

    def take_in(self, index: Index) -> None:
        """What was dropped are tasks; from inside `Ledger.alone`. A directory that cannot be read holds up nobody."""
        with Suppressed(OSError):
            changed = kernel.stat(self._path).st_mtime_ns
            if changed == self._seen:
                return
            now = SystemClock().now().timestamp()
            names = sorted(name for name in os.listdir(self._path) if name.endswith(".json") and name[0] != ".")
            for name in names[:_AT_ONCE]:
                self._take(index, name, now)
            self._seen = changed if not names and now - changed / 1e9 > _RACY else 0

    def _take(self, index: Index, name: str, now: float) -> None:
        """The file is a task, or a duplicate and gone, or set aside, or left for later."""
        path = f"{NEW}/{name}"
        try:
            content = read(self._folder.read(path), strict=True)
            new = content.entry()
        except FileNotFoundError as error:
            let_through(error)
            return
        except (Wrong, ValueError, TypeError) as error:
            let_through_strange(error)
            if now - os.lstat(os.path.join(self._path, name)).st_mtime > _YOUNG:
                self._ledger.set_aside(index, path, str(error))
            return
        self._push(index, path, new)

    def _push(self, index: Index, path: str, new: Entry) -> None:
        now = self._clock.now()
        if self._standing.find(index, new.digest, stamp(now)) is not None:
            self._ledger.change(index, [(path, "")])
            return
        written = self._folder.write(of_entry(new, to_micros(now)))
        try:
            name = name_of(new, self._ledger.number(), stamp(now))
            self._ledger.change(index, [(written, str(name)), (path, "")])
        except BaseException:
            self._folder.discard(written)
            raise
        self._folder.sync(NEW)


def name_of(new: Entry, number: str, now: str) -> Name:
    """The name of the file of a new task."""
    due = "" if new.not_before is None else stamp(to_datetime(new.not_before))
    if due <= now:
        due = ""
    return Name("scheduled" if due else "ready", due, rank(new.priority), number, start_of(new.digest))
