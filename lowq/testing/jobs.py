"""Assertions about what was pushed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Unpack

from lowq.backend import State, Task
from lowq.testing.expected import WAITING, Expected, Like, expect, states_of
from lowq.testing.matching import differences
from lowq.testing.queues import QueueRef, Store, TempQueue
from lowq.testing.table import indent, line, queue_table

_CANDIDATES = 10


class Captured(list[Task]):
    """The tasks that a block pushed, as they stood then."""

    def works(self) -> list[Any]:
        """Their works."""
        return [task.work for task in self]


class Jobs:
    """Assertions over the queues of a test; each answers with the tasks that it matched."""

    def __init__(self, store: TempQueue) -> None:
        self._store = store
        self.asserted: set[tuple[int, str]] = set()
        """The tasks that an assertion matched, by the identity of their queue and their id."""

    def all(self, queue: QueueRef = None, **like: Unpack[Like]) -> list[Task]:
        """The tasks that are like that, in claim order; a work may name a part of an object only."""
        kept = self._store.find_known(queue)
        expected = self._expect(like)
        return self._mark_asserted(
            kept, [task for task in self._tasks(kept, expected.states) if not expected.misses(task)]
        )

    def assert_pushed(self, queue: QueueRef = None, *, times: int | None = None, **like: Unpack[Like]) -> list[Task]:
        """At least one task is like that, or exactly `times`; the tasks.

        See Like for what can be expected.
        """
        __tracebackhide__ = True
        kept = self._store.find_known(queue)
        expected = self._expect(like)
        tasks = self._tasks(kept, expected.states)
        matched = [task for task in tasks if not expected.misses(task)]
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 0):
            raise TypeError(f"times: expected how often, an int of zero or more, got {times!r}")
        if not matched and times != 0:
            self._no_match(kept, expected, tasks)
        if times is not None and len(matched) != times:
            found = f"{expected.describe(f'expected {times}')}, found {len(matched)}:"
            _fail(kept, found, *indent(map(line, matched)), *_list_uncommitted(kept))
        return self._mark_asserted(kept, matched)

    def refute_pushed(self, queue: QueueRef = None, **like: Unpack[Like]) -> None:
        """No task is like that."""
        __tracebackhide__ = True
        kept = self._store.find_known(queue)
        expected = self._expect(like)
        found = [task for task in self._tasks(kept, expected.states) if not expected.misses(task)]
        if found:
            _fail(kept, f"{expected.describe('expected none')}, found {len(found)}:", *indent(map(line, found)))

    def assert_one(self, queue: QueueRef = None, **like: Unpack[Like]) -> Task:
        """The queue holds one task in these states, and it is like that; the task."""
        __tracebackhide__ = True
        kept = self._store.find_known(queue)
        expected = self._expect(like)
        tasks = self._tasks(kept, expected.states)
        matched = [task for task in tasks if not expected.misses(task)]
        if not matched:
            self._no_match(kept, expected, tasks)
        if len(tasks) > 1:
            _fail(kept, f"expected one task and no other, found {len(tasks)}:", *indent(map(line, tasks)))
        return self._mark_asserted(kept, matched)[0]

    def assert_sequence(
        self, queue: QueueRef = None, works: Sequence[Any] = (), *, states: Sequence[State] = WAITING
    ) -> list[Task]:
        """The tasks have these works, in claim order, and there is no other; the tasks."""
        __tracebackhide__ = True
        if isinstance(works, str | bytes) or not isinstance(works, Sequence):
            raise TypeError(f"works: expected a list of works, got {type(works).__name__}")
        states = states_of(states)
        kept = self._store.find_known(queue)
        tasks = self._tasks(kept, states)
        for place, (work, task) in enumerate(zip(works, tasks, strict=False), 1):
            misses = differences(work, task.work, "work")
            if misses:
                _fail(kept, f"the claim order differs first in place {place}, task {task.id}:", *indent(misses))
        if len(tasks) > len(works):
            more = tasks[len(works) :]
            _fail(kept, f"expected {len(works)} tasks, found {len(tasks)}; behind them:", *indent(map(line, more)))
        if len(tasks) < len(works):
            missing = [repr(work) for work in works[len(tasks) :]]
            _fail(kept, f"expected {len(works)} tasks, found {len(tasks)}; missing:", *indent(missing))
        return self._mark_asserted(kept, tasks)

    def assert_nothing(self, queue: QueueRef = None, *, states: Sequence[State] = WAITING) -> None:
        """No task of this queue (None: of any) is in these states."""
        __tracebackhide__ = True
        states = states_of(states)
        for kept in list(self._store.queues.values()) if queue is None else [self._store.find_known(queue)]:
            found = self._tasks(kept, states)
            if found:
                _fail(kept, f"expected nothing, found {len(found)}:", *indent(map(line, found)))

    @contextmanager
    def capture(self, queue: QueueRef = None) -> Iterator[Captured]:
        """What this process pushes inside to this queue (None: to any), also what ran meanwhile.

        Who collects the tasks looks at them: they are no leftovers.
        """
        only = None if queue is None else self._store.find_known(queue)
        captured = Captured()
        before = {id(kept): len(kept.pushed) for kept in self._store.queues.values()}
        try:
            yield captured
        finally:
            for kept in self._store.queues.values():
                kept.backend.find_uncommitted()  # what was committed meanwhile is known now
                if only is None or kept is only:
                    captured += self._mark_asserted(kept, kept.pushed[before.get(id(kept), 0) :])

    def _expect(self, like: Like) -> Expected:
        return expect(like, self._store.clock)

    def _tasks(self, kept: Store, states: Sequence[State]) -> list[Task]:
        return [task for task in kept.backend.tasks() if task.state in states]

    def _mark_asserted(self, kept: Store, tasks: list[Task]) -> list[Task]:
        self.asserted |= {(id(kept), task.id) for task in tasks}
        return tasks

    def _no_match(self, kept: Store, expected: Expected, tasks: list[Task]) -> NoReturn:
        """Say which task came nearest, and where it differs; or else where there is one like that."""
        __tracebackhide__ = True
        lines = _nearest(kept, expected, tasks)
        others = [each for each in self._store.queues.values() if each is not kept]
        lines += [
            f"another queue has it, {other.backend.title}: {line(task)}"
            for other in others
            for task in other.pushed[:_CANDIDATES]
            if str(expected) and not expected.misses(task)
        ]
        lines += _list_uncommitted(kept)
        if not any(each.pushed or each.backend.find_uncommitted() for each in self._store.queues.values()):
            lines.append("nothing was pushed to any queue in this test")
        _fail(kept, *lines)


def _nearest(kept: Store, expected: Expected, tasks: list[Task]) -> list[str]:
    """Which task came nearest, and where it differs, and what is no longer waiting."""
    ranked = sorted(tasks, key=lambda task: len(expected.misses(task)))
    lines = [expected.describe("no task")]
    if ranked:
        nearest, *others = ranked
        lines += [f"nearest: {line(nearest)}", *indent(expected.misses(nearest))]
        lines += ["others:", *indent(map(line, others[:_CANDIDATES]))] if others else []
        lines += [f"  … and {len(others) - _CANDIDATES} more"] if len(others) > _CANDIDATES else []
    present = {task.id for task in tasks}
    elsewhere = [task for task in kept.pushed if task.id not in present and not expected.misses(task)]
    if elsewhere:
        now = {task.id: kept.backend.task(task.id) for task in elsewhere}
        lines += ["pushed in this test, and no longer waiting:"]
        lines += indent(
            f"{line(task)}  (now {there.state if (there := now[task.id]) else 'gone: it ran or was cancelled'})"
            for task in elsewhere[:_CANDIDATES]
        )
    return lines


def _list_uncommitted(kept: Store) -> list[str]:
    """The pushes in transactions that were not committed."""
    lines = []
    for what, tasks in kept.backend.find_uncommitted().items():
        some = "1 push in a transaction" if len(tasks) == 1 else f"{len(tasks)} pushes in a transaction"
        more = [f"  … and {len(tasks) - _CANDIDATES} more"] if len(tasks) > _CANDIDATES else []
        lines += [f"{some} that {what}:", *indent(map(line, tasks[:_CANDIDATES])), *more]
    return lines


def _fail(kept: Store, *lines: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError("\n".join([*lines, "", *queue_table(f"the queue {kept.backend.title}", kept.backend)]))
