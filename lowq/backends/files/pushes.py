"""How works become tasks: their files are written before anybody has to wait for them, and then given their names."""

from __future__ import annotations

from lowq.backend import BackendUnavailable, Pushed
from lowq.backends.files.content import of_entry
from lowq.backends.files.folder import MANY, Folder
from lowq.backends.files.inbox import name_of
from lowq.backends.files.index import Index
from lowq.backends.files.journal import Change
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import stamp
from lowq.backends.files.standing import Standing, start_of
from lowq.backends.files.tasks import Tasks
from lowq.clock import Clock, to_micros
from lowq.rules.entry import Entry


class Pushes:
    """The pushes of one queue."""

    def __init__(self, folder: Folder, ledger: Ledger, standing: Standing, tasks: Tasks, clock: Clock) -> None:
        self._folder = folder
        self._ledger = ledger
        self._standing = standing
        self._tasks = tasks
        self._clock = clock

    def keep(self, batch: list[Entry]) -> list[Pushed]:
        """Each entry is a task, or an equal one stands; all are written before anybody else has to wait for it."""
        folder, now = self._folder, self._clock.now()
        at, micros = stamp(now), to_micros(now)
        self._ledger.open()
        written: dict[int, str] = {}
        kept: list[int] = []

        def write(position: int, *, sync: bool) -> str:
            written[position] = name = folder.write(of_entry(batch[position], micros), sync=sync)
            return name

        def keep(index: Index) -> list[Pushed]:
            answers: list[Pushed] = []
            changes: list[Change] = []
            added: dict[bytes, str] = {}
            for position, new in enumerate(batch):
                stands = added.get(new.digest) or self._standing.find(index, new.digest, at)
                answers.append(Pushed(self._tasks.id(stands or (fresh := self._ledger.number())), stands is None))
                if stands is None:
                    kept.append(position)
                    changes.append(
                        (written.get(position) or write(position, sync=True), str(name_of(new, fresh, at)))
                    )
                    if self._standing.dedupe != "off":
                        added[new.digest] = fresh
            if len(changes) > 1:
                written.clear()  # they are the batch's from now on
                self._ledger.change_all(index, changes)
            elif self._ledger.change(index, changes):
                raise BackendUnavailable(f"{folder.path}: somebody removed a file of .lowq/tmp that was being pushed")
            return answers

        try:
            for position, new in enumerate(batch):
                if not self._ledger.knows(start_of(new.digest)):
                    write(position, sync=len(batch) < MANY)
            if len(batch) >= MANY:
                folder.sync_all()
            pushed = self._ledger.alone(keep)
            for changed in kept:
                written.pop(changed, None)  # they are tasks, and no files of ours any more
        except OSError as error:
            raise folder.translate(error) from error
        finally:
            for name in written.values():
                folder.discard(name)
        folder.sync()  # also for a duplicate: the task that stands may be somebody's who still waits for the disk
        return pushed
