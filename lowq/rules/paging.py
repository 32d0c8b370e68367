"""The order in which a queue lists its tasks, and a page of it. The same for every backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from lowq.backend import Backend, State, Task
from lowq.clock import to_micros
from lowq.excerpt import excerpt
from lowq.rules.entry import check_priority
from lowq.rules.leases import check_number
from lowq.rules.origin import let_through_strange

STATES = (State.READY, State.SCHEDULED, State.LEASED, State.DEAD)
"""The states in the order of a listing."""
PAGE = 1000
"""Tasks that are read at once by whoever goes through all."""
_NEVER = datetime.max.replace(tzinfo=UTC)


def read_tasks(
    queue: Backend, state: State | None, after: Task | None = None, *, most: int = sys.maxsize
) -> Iterator[Task]:
    """The tasks behind `after`, the first so many at most, read a page at a time."""
    while most and (page := queue.tasks(state=state, after=after, limit=min(most, PAGE))):
        yield from page
        after, most = page[-1], most - len(page)


def check_page(state: State | None, after: Task | None, limit: int | None) -> int | None:
    """The limit, cut to what any storage counts. Raises TypeError or ValueError where no page is meant."""
    if state is not None and state not in STATES:
        raise ValueError(f"state: expected {', '.join(STATES)} or None, got {excerpt(state)}")
    if after is not None:
        check_after(after)
    return None if limit is None else check_number(limit, "limit", least=0)


def check_after(after: Task) -> None:
    """Raise TypeError or ValueError unless it is a task that has a place in a listing."""
    if not isinstance(after, Task):
        raise TypeError(f"after: expected a Task, got {type(after).__name__}")
    if not isinstance(after.id, str):
        raise TypeError(f"after: expected a Task whose id is a string, got {excerpt(after.id)}")
    if not isinstance(after.state, State):
        raise TypeError(f"after: expected a Task whose state is a State, got {excerpt(after.state)}")
    try:
        check_priority(after.priority)
        if after.not_before is not None:
            to_micros(after.not_before, "not_before")
    except (TypeError, ValueError) as error:
        let_through_strange(error)
        raise type(error)(f"after: {error}") from None


def place_in_list(task: Task, number: Callable[[str], int]) -> tuple[int, object, int]:
    """Where a task stands in a listing: by state; ready ones as they are claimed, scheduled ones by time.

    `number` says of an id when its task was pushed, as the backend that made the id knows.
    """
    within: object = 0
    if task.state is State.READY:
        within = -task.priority
    elif task.state is State.SCHEDULED:
        within = task.not_before or _NEVER
    return STATES.index(task.state), within, number(task.id)


def page_of(
    tasks: list[Task], state: State | None, after: Task | None, limit: int | None, number: Callable[[str], int]
) -> list[Task]:
    """The tasks of `state` that stand behind `after`, in order, `limit` at most."""
    start = None if after is None else place_in_list(after, number)
    placed = [(place_in_list(task, number), task) for task in tasks if state is None or task.state is State(state)]
    placed = [(place, task) for place, task in placed if start is None or place > start]
    return [task for _, task in sorted(placed, key=lambda each: each[0])][:limit]
