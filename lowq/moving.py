"""A queue's tasks go over to another queue, each exactly once, wherever the process that moves them is killed.

What is under way stands in the two queues themselves. The source has a *note*, a dead task that says where to. A
batch is adopted by the target in one transaction with a *mark*, a dead task that names those tasks of the source;
then they are cancelled in the source, and at last the mark. Who finds a mark knows that its tasks came over, whatever
became of them since, and cancels them in the source; where there is none, no batch is half-way. Note and mark share
a word that no other move has, so that neither is taken for another's.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lowq import kernel
from lowq.backend import (
    NO_HEADERS,
    Adopting,
    Backend,
    Damaged,
    InvalidLocation,
    LowqError,
    Pushed,
    State,
    Task,
)
from lowq.clock import SystemClock, to_micros
from lowq.rules.canonical import encode
from lowq.rules.paging import read_tasks

TOGETHER = 500
"""Tasks of one batch at most."""
MOST_BYTES = 2**22
"""Bytes of works of one batch, unless it is one task: a server takes no body of any length."""

_NOTE, _MARK = "lowq move: note", "lowq move: mark "
_MOVABLE = (State.READY, State.SCHEDULED, State.DEAD)
_TRIES = 10
_NUMBER = re.compile(r"(?:[0-9a-z]+-)?(\d+)(?:\.|$)", re.ASCII)
"""Ids of lowq's backends: a number that grows; behind an epoch, ``9f3a-42``, or before a name, ``42.mail``."""


class MoveRefused(LowqError):
    """The tasks cannot be moved as things stand; says what is in the way and what to do."""


@dataclass(slots=True)
class Moved:
    """What became of the tasks so far: `equal` ones were dropped, as a duplicate push is, since an equal one stood.

    `leased` and `damaged` are left in the source; `doubtful` are the ids, in the source, of tasks that a worker there
    took in the very instant in which they went over, and which may run twice.
    """

    moved: int = 0
    equal: int = 0
    leased: int = 0
    damaged: int = 0
    doubtful: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Survey:
    """What stands in the source: the ids of what can be moved, in push order; what cannot; and what a move left."""

    ids: list[str]
    leased: int = 0
    damaged: int = 0
    note: Task | None = None
    others: list[Task] = field(default_factory=list)
    """Marks of a move into the source that was cut off."""


def survey(source: Backend) -> Survey:
    """What stands in the queue now."""
    found = Survey([])
    ids: dict[str, tuple[int, int]] = {}
    for state in _MOVABLE:
        for task in read_tasks(source, state):
            if is_note(task):
                found.note = task
            elif is_mark(task):
                found.others.append(task)
            elif isinstance(task.work, Damaged):
                found.damaged += 1
            else:
                ids[task.id] = _place(task)
    found.leased = source.count().leased
    found.ids = sorted(ids, key=ids.__getitem__)
    return found


def check_free(found: Survey, source_at: str, target_at: str, *, take_over: bool = False) -> None:
    """Raise MoveRefused where a move that was cut off stands in the way of this one."""
    if found.others:
        other = found.others[0]
        raise MoveRefused(
            f"{source_at}: task {other.id} says that a move from elsewhere to here was cut off ({other.reason}):"
            " run that one again first, or cancel the task if that is never to be finished"
        )
    if found.note is None:
        return
    note = found.note.work
    if note["to"] != target_at:
        raise MoveRefused(
            f"{source_at}: a move to {note['to']} was cut off, not to {target_at}: finish it first, with the same"
            " URLs"
        )
    if note["host"] != socket.gethostname() and not take_over:
        raise MoveRefused(
            f"{source_at}: a move to {target_at} runs on the machine {note['host']}, or was cut off there: run it"
            " again there, or, if it has ended for certain, here with --take-over"
        )


class Mover:
    """Moves what is in `source` to `target`, of which the texts say where they are, without a password."""

    def __init__(self, source: Adopting, target: Adopting, *, source_at: str, target_at: str) -> None:
        self.source = source
        self.target = target
        self.told = Moved()
        self._from, self._to = source_at, target_at
        self._word = ""

    def run(self, found: Survey) -> Iterator[Moved]:
        """Everything that can be moved has been moved when this ends; tells how far it is after each batch.

        What is pushed to the source meanwhile goes over as well.
        """
        note = found.note
        if note is None and found.ids:
            note = self._begin()
        if note is not None:
            self._word = note.work["lowq move"]
            if found.note is not None:
                yield from self._finish_batch()
            while found.ids:
                for batch in self._batches(found.ids):
                    self._move(batch)
                    yield self.told
                found = survey(self.source)
            self.source.cancel(note.id)
        self.told.leased, self.told.damaged = found.leased, found.damaged
        yield self.told

    def _begin(self) -> Task:
        """The note stands in the source. Raises InvalidLocation where source and target are one queue."""
        self._word = kernel.urandom(12).hex()
        work = {"lowq move": self._word, "to": self._to, "host": socket.gethostname()}
        reason = f"its queue is being moved to {self._to}, or that was cut off: run lowq move again"
        note = _dead(work, _NOTE, reason)
        (kept,) = self.source.adopt([note])
        try:
            same = self.target.task(kept.id)
            if same is not None and same.key == _NOTE and same.work == work:
                raise InvalidLocation(f"{self._from} and {self._to} are one queue: nothing to move")
            (probe,) = self.target.adopt(
                [self._mark([])]
            )  # who may not write there is told before anything goes over
        except LowqError:
            self.source.cancel(kept.id)
            raise
        self.target.cancel(probe.id)
        return replace(note, id=kept.id)

    def _batches(self, ids: list[str]) -> Iterator[list[Task]]:
        """The tasks as they are now, some at a time; those that are leased or gone meanwhile are left out."""
        batch: list[Task] = []
        size = 0
        for id in ids:
            task = self.source.task(id)
            if task is None or task.state not in _MOVABLE or isinstance(task.work, Damaged):
                continue
            length = len(encode(task.work)) + len(task.key or "") + len(task.reason or "")
            length += sum(len(name) + len(value) for name, value in task.headers.items())
            if batch and (len(batch) == TOGETHER or size + length > MOST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(task)
            size += length
        if batch:
            yield batch

    def _move(self, batch: list[Task]) -> None:
        *answers, mark = self.target.adopt([*batch, self._mark(batch)])
        kept_back: list[tuple[Task, Pushed]] = []
        for task, answer in zip(batch, answers, strict=True):
            taken = self._take_out(task.id)
            if taken is False:
                kept_back.append((task, answer))
            elif answer.added:
                self.told.moved += 1
            else:
                self.told.equal += 1
            if taken is None and answer.added:
                self.told.doubtful.append(task.id)
        self.target.cancel(mark.id)
        # Only now: a mark whose task is neither here nor there would have the next run cancel it where it still is.
        for task, answer in kept_back:
            if answer.added and not self.target.cancel(answer.id):
                self.told.doubtful.append(task.id)

    def _take_out(self, id: str) -> bool | None:
        """Whether the task is gone from the source by us; None: it was gone; False: a worker has it."""
        for _ in range(_TRIES):
            if self.source.cancel(id):
                return True
            task = self.source.task(id)
            if task is None:
                return None
            if task.state is State.LEASED:
                return False
        return False

    def _finish_batch(self) -> Iterator[Moved]:
        """No batch is half-way any more. Raises MoveRefused where a worker has one of its tasks."""
        for mark in [each for each in read_tasks(self.target, State.DEAD) if each.key == f"{_MARK}{self._word}"]:
            for id, pushed_at in mark.work["tasks"]:
                task = self.source.task(id)
                if task is None or to_micros(task.pushed_at) != pushed_at:
                    continue
                if self._take_out(id) is False:
                    raise MoveRefused(
                        f"{self._from}: a worker has task {id}, which went over before the last move was cut off:"
                        " stop the workers there, and move again when its lease has ended"
                    )
                self.told.moved += 1
            self.target.cancel(mark.id)
            yield self.told

    def _mark(self, batch: list[Task]) -> Task:
        tasks = [[task.id, to_micros(task.pushed_at)] for task in batch]
        return _dead(
            {"lowq move": self._word, "tasks": tasks}, f"{_MARK}{self._word}", f"lowq move from {self._from}"
        )


def is_note(task: Task) -> bool:
    """Whether the task is the note of a move out of its queue."""
    return task.key == _NOTE and _word_of(task, {"to", "host"}) is not None


def is_mark(task: Task) -> bool:
    """Whether the task is the mark of a batch that came into its queue."""
    word = _word_of(task, {"tasks"})
    return word is not None and task.key == f"{_MARK}{word}"


def _word_of(task: Task, more: set[str]) -> str | None:
    """The word of the move that the task tells of, if it is dead and its work has these fields beside it."""
    if task.state is not State.DEAD or not isinstance(task.work, dict) or set(task.work) != {"lowq move", *more}:
        return None
    return str(task.work["lowq move"])


def _dead(work: Any, key: str, reason: str) -> Task:
    return Task("", work, key, 0, None, 0, State.DEAD, reason, SystemClock().now(), NO_HEADERS)


def _place(task: Task) -> tuple[int, int]:
    """Where the task stands in the order in which its queue's were pushed."""
    number = _NUMBER.match(task.id)
    return int(number[1]) if number is not None else 0, to_micros(task.pushed_at)
