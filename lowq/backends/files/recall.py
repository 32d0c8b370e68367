"""A noted list of the names of tasks, so that a new client need not list a large directory.

`.lowq/names` has the names of a listing, in order, and the place of the journal at which they were true. A client
that is opened follows the journal from there. Of the names it decodes those that it comes to: the first ready ones,
those whose time has come, those with a digest or a number that it is asked for. The file may be lost or damaged: the
directory is listed then, as it is where anybody but a client has changed it since a client last did.
"""

from __future__ import annotations

from zlib import crc32

from lowq.backend import Counts
from lowq.backends.files.content import Wrong
from lowq.backends.files.folder import Folder
from lowq.backends.files.index import Index
from lowq.backends.files.names import due, number, place
from lowq.backends.files.settings import INNER
from lowq.process.handlers import Suppressed, let_through
from lowq.rules.origin import let_through_strange

NAMES = f"{INNER}/names"
LEAST = 1_000
"""Fewer names are listed in less time than a file is written."""

_MAGIC = b"lowq-names-1"
_STATES = "dlrs"
_MOST_SEARCHES = 200
"""After so many searches all names are decoded: that takes as long."""


def note(folder: Folder, epoch: int, end: int, index: Index) -> None:
    """The names are noted for clients to come, as they are at that place of the journal; a full disk needs none."""
    names = sorted(index.all())
    body = "\n".join(["", *names, ""]).encode()
    counted = [sum(name[0] == first for name in names) for first in _STATES]
    begins = [body.find(f"\n{first}".encode()) + 1 for first in _STATES]
    head = " ".join(map(str, (epoch, end, len(body), crc32(body), *counted, *begins, max(map(number, names)))))
    with Suppressed(OSError):
        written = folder.write(b"%s %s\n%s" % (_MAGIC, head.encode(), body), sync=False)
        try:
            folder.rename(written, NAMES)
        except BaseException:
            folder.discard(written)
            raise


def recall(folder: Folder, epoch: int) -> tuple[int, Recalled] | None:
    """The place of the journal at which the noted names were true, and the names; None: there are none, or others."""
    try:
        head, _, body = folder.read(NAMES).partition(b"\n")
        magic, *fields = head.split(b" ")
        of, end, length, check, *counted_and_begins = map(int, fields[:-1])
        counted = dict(zip(_STATES, counted_and_begins[:4], strict=True))
        begins = dict(zip(_STATES, counted_and_begins[4:], strict=True))
    except OSError as error:
        let_through(error)
        return None
    except (Wrong, ValueError) as error:
        let_through_strange(error)
        return None
    if magic != _MAGIC or of != epoch or len(body) != length or crc32(body) != check:
        return None
    return end, Recalled(body, fields[-1].decode(), counted, begins)


class Recalled(Index):
    """An index over noted names: what it has in memory is true, and of the others what was noted."""

    def __init__(self, body: bytes, last: str, left: dict[str, int], begins: dict[str, int]) -> None:
        super().__init__([])
        self._body = body
        self._last = last
        self._left = left
        self._passed: set[str] = set()
        """Numbers whose noted names are in memory, or true no more."""
        self._sought: set[str] = set()
        self._searches = 0
        self._at = begins
        """Where the next noted name of each state begins; 0: there is none."""

    def name_at(self, at: str) -> str | None:
        """The name of the task with that number, or None."""
        if at not in self._passed and at <= self._last:
            self._search(f"-{at}-")
            self._passed.add(at)
        return super().name_at(at)

    def all(self) -> list[str]:
        """The names of all tasks."""
        if self._body:
            for name in self._body.decode().split():
                self._enter(name)
            self._body, self._last, self._at = b"", "", dict.fromkeys(self._at, 0)
        return super().all()

    def add(self, name: str) -> None:
        """A task of that name is there."""
        self.name_at(number(name))
        self._passed.add(number(name))
        super().add(name)

    def remove(self, name: str) -> None:
        """No task of that name is there."""
        self.name_at(number(name))
        super().remove(name)

    def first(self) -> str | None:
        """The name of the first ready task, which is taken out of the order."""
        while (name := self._next("r")) is not None:
            top = self._top()
            if top is not None and top < place(name):
                break
            self._take("r", name)
        return super().first()

    def overdue(self, now: str, limit: int) -> list[str]:
        """The names of the tasks whose time has come, the earliest first, `limit` at most."""
        self._take_due(now)
        return super().overdue(now, limit)

    def next_due(self) -> str | None:
        """The stamp at which the next scheduled task falls due or the next lease ends, or None."""
        for first in "ls":
            while (name := self._next(first)) is not None:
                fresh = number(name) not in self._passed
                self._take(first, name)
                if fresh:
                    break
        return super().next_due()

    def counts(self, now: str) -> Counts:
        """How many tasks are in each state at that instant."""
        self._take_due(now)
        known, left = super().counts(now), self._left
        return Counts(
            known.scheduled + left["s"], known.ready + left["r"], known.leased + left["l"], known.dead + left["d"]
        )

    def equals(self, start: str) -> list[str]:
        """The names of the tasks that are not dead and whose digest begins so, the oldest first."""
        if start not in self._sought:
            self._search(f"-{start}-")
            self._sought.add(start)
        return super().equals(start)

    def may_stand(self, start: str) -> bool:
        """Whether an equal task may be there; changes nothing, and so may be asked without the lock."""
        return super().may_stand(start) or (start not in self._sought and self._body.find(f"-{start}-".encode()) >= 0)

    def _search(self, part: str) -> None:
        """The noted names with that part in them are in memory."""
        body, wanted = self._body, part.encode()
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            self.all()
            return
        at = body.find(wanted)
        while at >= 0:
            end = body.index(b"\n", at)
            self._enter(body[body.rindex(b"\n", 0, at) + 1 : end].decode())
            at = body.find(wanted, end)

    def _enter(self, name: str) -> None:
        if number(name) not in self._passed:
            self._passed.add(number(name))
            self._left[name[0]] -= 1
            super().add(name)

    def _next(self, first: str) -> str | None:
        """The noted name that is the next of that state, or None."""
        start = self._at[first]
        if not start or self._body[start : start + 1] != first.encode():
            return None
        return self._body[start : self._body.index(b"\n", start)].decode()

    def _take(self, first: str, name: str) -> None:
        """The next noted name of that state is in memory, unless it is true no more."""
        self._at[first] += len(name) + 1
        self._enter(name)

    def _take_due(self, now: str) -> None:
        for first in "ls":
            while (name := self._next(first)) is not None and due(name) <= now:
                self._take(first, name)
