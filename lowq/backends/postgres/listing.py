"""A page of a listing in PostgreSQL, as one statement, which sees one state of the queue."""

from __future__ import annotations

from lowq.backend import State, Task
from lowq.backends.numbers import number
from lowq.backends.postgres.rows import Value, columns
from lowq.clock import is_datetime, to_micros
from lowq.rules.paging import STATES, place_in_list

_PARTS = {
    # Those whose time has come since the last claim are not yet in the index of the ready.
    State.READY: (("state = 1", "rank"), ("due <= (SELECT now FROM clock)", "rank")),
    State.SCHEDULED: (("state = 0 AND due > (SELECT now FROM clock)", "due"),),
    State.LEASED: (("state = 2 AND due > (SELECT now FROM clock)", "0::bigint"),),
    State.DEAD: (("state = 3", "0::bigint"),),
}
"""Of each state its tasks, and by what they are in order before the push order."""


def listing(
    schema: str, queue: int, at: int | None, state: State | None, after: Task | None, limit: int | None
) -> tuple[str, list[Value]]:
    """The statement, empty where nothing can be listed, and its values; its rows end with the instant."""
    values: list[Value] = [queue, at, limit]
    behind = ""
    if after is not None:
        _, within, id = place_in_list(after, number)
        values += [to_micros(within) if is_datetime(within) else within, id]  # type: ignore[list-item]
        behind = " AND ({order}, id) > ($4, $5)"
    parts = []
    for place, each in enumerate(STATES):
        if state not in (None, each) or (after is not None and place < STATES.index(after.state)):
            continue
        for which, order in _PARTS[each]:
            where = f"queue = $1 AND {which}" + (behind.format(order=order) if after and each is after.state else "")
            parts.append(
                f"(SELECT {columns()}, {place} AS part, {order} AS within FROM {schema}task WHERE {where}"
                f" ORDER BY {order}, id LIMIT $3)"
            )
    if not parts:
        return "", []
    if after is not None and (state is not None and state is not after.state):
        values = values[:3]
    statement = (
        f"WITH clock AS MATERIALIZED (SELECT coalesce($2, {schema}now()) AS now)"
        f" SELECT {columns()}, (SELECT now FROM clock) FROM ({' UNION ALL '.join(parts)}) AS page"
        " ORDER BY part, within, id LIMIT $3"
    )
    return statement, values
