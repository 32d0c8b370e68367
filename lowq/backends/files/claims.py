"""Which tasks are claimed: what fell due is ready, and of the ready ones the first are leased."""

from __future__ import annotations

from typing import cast

from lowq import kernel
from lowq.backend import Lease, State
from lowq.backends.files.content import Wrong, read
from lowq.backends.files.folder import Folder
from lowq.backends.files.index import Index
from lowq.backends.files.journal import Change
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import MOST_ATTEMPTS, Name, number, parse, stamp
from lowq.backends.files.tasks import Tasks
from lowq.clock import to_datetime
from lowq.process.handlers import let_through

PROMOTED = 500
"""How many tasks fall due in one change at most."""

TOGETHER = 500
"""How many tasks one change claims or settles at most."""


class Claims:
    """The claims of one queue; called from inside `Ledger.alone`."""

    def __init__(self, folder: Folder, ledger: Ledger, tasks: Tasks) -> None:
        self._folder = folder
        self._ledger = ledger
        self._tasks = tasks

    def promote(self, index: Index, now: int) -> bool:
        """What fell due is ready, and so is what was leased for too long; False: there may be more of it."""
        late = index.overdue(stamp(to_datetime(now)), PROMOTED)
        self._ledger.change(index, [(name, str(cast(Name, parse(name)).ready())) for name in late])
        return len(late) < PROMOTED

    def promote_all(self, index: Index, now: int) -> None:
        """Nothing due is left to promote, however much it is: an ack and the next claim are one transaction."""
        while not self.promote(index, now):
            pass

    def take(self, index: Index, until: int, limit: int, changes: list[Change]) -> list[Lease]:
        """The most urgent ready tasks are leased, in one change with those given; one whose file is wrong is not."""
        expires = to_datetime(until)
        due = stamp(expires)
        leases: list[Lease] = []
        gone: set[str] = set()
        while len(leases) < limit and (text := index.first()) is not None:
            name = cast(Name, parse(text))
            try:
                content = read(self._folder.read(text))
            except FileNotFoundError as error:  # a person removed it
                let_through(error)
                self._ledger.forget(index, text)
                continue
            except Wrong as error:
                self._ledger.set_aside(index, text, str(error))
                continue
            token = kernel.urandom(8).hex()
            after = name._replace(
                state="leased", due=due, attempts=min(name.attempts + 1, MOST_ATTEMPTS), token=token
            )
            changes.append((text, str(after)))
            leases.append(Lease(self._tasks.task(after, content, State.LEASED), token, expires))
            if len(changes) >= TOGETHER:
                gone |= self._ledger.change(index, changes)
                changes = []
        gone |= self._ledger.change(index, changes)
        if gone:
            ids = {self._tasks.id(number(text)) for text in gone}
            leases = [lease for lease in leases if lease.id not in ids]
        return leases
