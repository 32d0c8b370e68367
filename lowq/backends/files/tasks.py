"""Task files as the contract's tasks: their ids, their states at an instant, and their places in a listing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from lowq.backend import CorruptQueue, Lease, LeaseLost, State, Task
from lowq.backends.files.content import Content, Wrong, read
from lowq.backends.files.folder import Folder
from lowq.backends.files.index import Index
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import STATES, Name, due, number, parse, place, rank, stamp
from lowq.clock import to_datetime
from lowq.process.handlers import let_through
from lowq.rules.leases import explain_lost
from lowq.rules.origin import let_through_strange
from lowq.rules.paging import STATES as ORDER

Position = tuple[int, str, str]
"""The place of the state, what orders the tasks of that state, and the number."""


class Tasks:
    """The tasks of one queue, whose ids end with its folder's name, so that no other queue of the location has them.

    `now` says what time it is, as a stamp. Its methods that take the index are called from inside `Ledger.alone`.
    """

    def __init__(self, folder: Folder, ledger: Ledger, now: Callable[[], str]) -> None:
        self._folder = folder
        self._ledger = ledger
        self._now = now
        self._suffix = "" if folder.path == folder.root else f".{os.path.basename(folder.path)}"

    def id(self, number: str) -> str:
        """The id of the task with that number."""
        return f"{int(number)}{self._suffix}"

    def number(self, id: str) -> str | None:
        """The number of the task with that id; None, where it is no id of this queue."""
        digits = id.removesuffix(self._suffix)
        if digits + self._suffix != id or not (digits.isascii() and digits.isdigit()):
            return None
        return digits.zfill(16) if len(digits) <= 16 and digits[0] != "0" else None

    def state(self, name: Name, now: str) -> State:
        """The state at that instant: what fell due and what was leased for too long is ready."""
        return State.READY if name.due and name.due <= now else State(name.state)

    def task(self, name: Name, content: Content, state: State) -> Task:
        """The task of a name and of what stands in its file."""
        return Task(
            id=self.id(name.number),
            work=content.work,
            key=content.key,
            priority=name.priority,
            not_before=None if content.not_before is None else to_datetime(content.not_before),
            attempts=name.attempts,
            state=state,
            reason=content.reason,
            pushed_at=to_datetime(content.pushed_at),
            headers=content.headers,
        )

    def page(self, index: Index, now: str, state: State | None, after: Task | None) -> Iterator[str]:
        """The names of the tasks of that state, or of all, in the order of a listing, behind `after`."""
        start = None if after is None else self._position_of(after)
        for at, name in sorted((_position(name, now), name) for name in index.all()):
            if (state is None or ORDER[at[0]] is State(state)) and (start is None or at > start):
                yield name

    def name_held(self, index: Index, lease: Lease) -> Name:
        """The name of the task of a lease that is still the caller's."""
        name = self.find(index, lease.id)
        if name is None or not name.token or name.token != lease.token:
            raise LeaseLost(explain_lost(lease, self.read_task(index, name)))
        return name

    def content(self, index: Index, name: Name, lease: Lease) -> Content:
        """What stands in the file of a task that is leased."""
        try:
            content = read(self._folder.read(str(name)))
            content.data()
            return content
        except FileNotFoundError as error:
            let_through(error)
            self._ledger.forget(index, str(name))
            raise LeaseLost(explain_lost(lease, None)) from None
        except (Wrong, TypeError, ValueError) as error:
            let_through_strange(error)
            self._ledger.set_aside(index, str(name), str(error))
            raise CorruptQueue(
                f"{self._folder.path}: the file of task {lease.id} was damaged while it was leased ({error}); it was"
                " set aside in bad/"
            ) from None

    def find(self, index: Index, id: str) -> Name | None:
        number = self.number(id)
        name = None if number is None else index.name_at(number)
        return None if name is None else parse(name)

    def read_task(self, index: Index, name: Name | None) -> Task | None:
        """The task of that name, or None where its file is gone or wrong."""
        if name is None:
            return None
        try:
            content = read(self._folder.read(str(name)))
        except FileNotFoundError as error:
            let_through(error)
            self._ledger.forget(index, str(name))
            return None
        except Wrong as error:
            self._ledger.set_aside(index, str(name), str(error))
            return None
        return self.task(name, content, self.state(name, self._now()))

    def _position_of(self, task: Task) -> Position:
        """The place of a task as it was when it was listed."""
        within = ""
        if task.state is State.READY:
            within = rank(task.priority)
        elif task.state is State.SCHEDULED and task.not_before is not None:
            within = stamp(task.not_before)
        return ORDER.index(task.state), within, self.number(task.id) or ""


def _position(name: str, now: str) -> Position:
    state = STATES[name[0]]
    if name[0] in "sl" and due(name) <= now:
        state = State.READY
    within = ""
    if state is State.READY:
        within = place(name)[:10]
    elif state is State.SCHEDULED:
        within = due(name)
    return ORDER.index(state), within, number(name)
