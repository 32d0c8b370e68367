"""How works become tasks: their files are written before anybody has to wait for them, and then given their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from lowq.backend import BackendUnavailable, Pushed, State
from lowq.backends.files.content import of_entry
from lowq.backends.files.folder import MANY, Folder
from lowq.backends.files.inbox import name_of
from lowq.backends.files.index import Index
from lowq.backends.files.journal import Change
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import Name, stamp
from lowq.backends.files.standing import Standing, start_of
from lowq.backends.files.tasks import Tasks
from lowq.clock import Clock, to_micros
from lowq.rules.adoption import Adoption
from lowq.rules.entry import Entry


class Coming(NamedTuple):
    """What is to be a task: its digest, whether it is dead, the bytes of its file, and its name for a number."""

    digest: bytes
    dead: bool
    data: Callable[[], bytes]
    name: Callable[[str], Name]


class Pushes:
    """The pushes of one queue."""

    def __init__(self, folder: Folder, ledger: Ledger, standing: Standing, tasks: Tasks, clock: Clock) -> None:
        self._folder = folder
        self._ledger = ledger
        self._standing = standing
        self._tasks = tasks
        self._clock = clock

    def keep(self, batch: list[Entry]) -> list[Pushed]:
        """Each entry is a task, or an equal one stands."""
        now = self._clock.now()
        at, micros = stamp(now), to_micros(now)
        return self._keep(
            [Coming(new.digest, False, partial(of_entry, new, micros), partial(_name, new, at)) for new in batch], at
        )

    def adopt(self, batch: list[Adoption]) -> list[Pushed]:
        """Each task of another queue is one of this, with what lies behind it, or an equal one stands."""
        at = stamp(self._clock.now())
        return self._keep(
            [
                Coming(
                    each.entry.digest,
                    each.state is State.DEAD,
                    partial(of_entry, each.entry, each.pushed_at, each.reason),
                    partial(_name_adopted, each, at),
                )
                for each in batch
            ],
            at,
        )

    def _keep(self, batch: Sequence[Coming], at: str) -> list[Pushed]:
        """Each is a task, or an equal one stands; all are written before anybody else has to wait for it."""
        folder = self._folder
        self._ledger.open()
        written: dict[int, str] = {}
        kept: list[int] = []

        def write(position: int, *, sync: bool) -> str:
            written[position] = name = folder.write(batch[position].data(), sync=sync)
            return name

        def write_new() -> None:
            for position, new in enumerate(batch):
                if not self._ledger.knows(start_of(new.digest)):
                    write(position, sync=len(batch) < MANY)

        def keep(index: Index) -> list[Pushed]:
            answers: list[Pushed] = []
            changes: list[Change] = []
            added: dict[bytes, str] = {}
            for position, new in enumerate(batch):
                stands = None
                if not new.dead:
                    stands = added.get(new.digest) or self._standing.find(index, new.digest, at)
                answers.append(Pushed(self._tasks.id(stands or (fresh := self._ledger.number())), stands is None))
                if stands is None:
                    kept.append(position)
                    changes.append((written.get(position) or write(position, sync=True), str(new.name(fresh))))
                    if self._standing.dedupe != "off" and not new.dead:
                        added[new.digest] = fresh
            if len(changes) > 1:
                written.clear()  # they are the batch's from now on
                self._ledger.change_all(index, changes)
            elif self._ledger.change(index, changes):
                raise BackendUnavailable(f"{folder.path}: somebody removed a file of .lowq/tmp that was being pushed")
            return answers

        try:
            write_new()
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


def _name(new: Entry, at: str, number: str) -> Name:
    return name_of(new, number, at)


def _name_adopted(each: Adoption, at: str, number: str) -> Name:
    name = name_of(each.entry, number, at)._replace(attempts=each.attempts)
    return name if each.state is State.SCHEDULED else name._replace(state=str(each.state), due="")
