"""Tasks that other programs drop into ``new/``: a file of JSON, renamed to a name that ends with ``.json``.

Each is taken in by the next call of any client, as a push of what it says; one that is wrong is set aside with the
reason. A wrong one that is younger than a few seconds may be one that somebody writes in place, and is left for then.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from lowq import kernel
from lowq.backends.files.content import Wrong, of_entry, read
from lowq.backends.files.descriptors import describe
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
"""Seconds after its last change in which a wrong file may be one that somebody writes."""
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
        self._changed = 0
        self._left: dict[str, _Left] = {}

    def take_in(self, index: Index) -> None:
        """What was dropped are tasks; from inside `Ledger.alone`. A directory that cannot be read holds up nobody."""
        with Suppressed(OSError):
            folder = kernel.stat(self._path)
            changed, self._changed = folder.st_mtime_ns, folder.st_ctime_ns
            if changed == self._seen:
                return
            now = SystemClock().now().timestamp()
            names = sorted(name for name in os.listdir(self._path) if name.endswith(".json") and name[0] != ".")
            self._left = {name: self._left[name] for name in names if name in self._left}
            handled = 0
            for name in names:
                handled += self._take(index, name, now)
                if handled == _AT_ONCE:
                    break
            self._seen = changed if not names and now - changed / 1e9 > _RACY else 0

    def _take(self, index: Index, name: str, now: float) -> bool:
        """The file is a task, or a duplicate and gone, or set aside; False: it is left, for later or for good."""
        path = f"{NEW}/{name}"
        try:
            status = os.lstat(os.path.join(self._path, name))
            left = self._left.get(name)
            young = abs(now - status.st_mtime) <= _YOUNG  # with a time of the future nobody writes it now
            if (
                left is not None
                and left.marks == _marks(status)
                and (young if left.young else left.at == self._changed)
            ):
                return False
            content = read(self._folder.read(path), strict=True)
            self._push(index, path, content.entry())
        except FileNotFoundError as error:
            let_through(error)
            return False
        except (Wrong, ValueError, TypeError) as error:
            let_through_strange(error)
            if young or not self._ledger.set_aside(index, path, str(error)):
                self._left[name] = _Left(_marks(status), young, self._changed)
                return False
        except PermissionError as error:
            let_through(error)
            self._ledger.tell_why_it_stays(
                path, f"it is taken in when it can be removed from {NEW}/, and cannot be: {describe(error)}"
            )
            self._left[name] = _Left(_marks(status), young=False, at=self._changed)
            return False
        return True

    def _push(self, index: Index, path: str, new: Entry) -> None:
        now = self._clock.now()
        if self._standing.find(index, new.digest, stamp(now)) is not None:
            self._ledger.change(index, [(path, "")])
            return
        written = self._folder.write(of_entry(new, to_micros(now)))
        # It has another name first, under which it still is one that was dropped: whoever may not remove it from here
        # fails in that, and so before it is a task, not after it, again at each call.
        taken = f"{NEW}/{kernel.urandom(8).hex()}.json"
        try:
            name = name_of(new, self._ledger.number(), stamp(now))
            self._ledger.change(index, [(path, taken), (written, str(name)), (taken, "")])
        except BaseException:
            self._folder.discard(written)
            raise
        self._folder.sync(NEW)


class _Left(NamedTuple):
    """A file that was left where it is: what it was like then, whether it only was too young, and otherwise when
    the directory was changed before, its permissions among it.
    """

    marks: tuple[int, ...]
    young: bool
    at: int


def _marks(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another of its name, and from itself as it was."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def name_of(new: Entry, number: str, now: str) -> Name:
    """The name of the file of a new task."""
    due = "" if new.not_before is None else stamp(to_datetime(new.not_before))
    if due <= now:
        due = ""
    return Name("scheduled" if due else "ready", due, rank(new.priority), number, start_of(new.digest))
