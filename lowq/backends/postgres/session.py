"""What a session on a PostgreSQL server is set to, or where it is shared out to many, each transaction."""

from __future__ import annotations

_SETTINGS = {
    "default_transaction_isolation": "'read committed'",
    "synchronous_commit": "CASE {now} WHEN 'off' THEN 'on' ELSE {now} END",
    "plan_cache_mode": "'force_generic_plan'",
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"), "'off'"),
}
"""What a session is set to.

A plan is made once for a session, perhaps while the table is empty and reading all of it is the quickest; that would
be slow with a million tasks, until the server next looks at the table. So the session plans by the indexes alone.
It plans once: a claim looks cheaper to the server where it knows how many tasks are wanted, and so it would plan each
one anew, for longer than the claim itself takes.
"""


def setting_session(own: str, patience: int) -> str:
    """What sets the session, where the condition says that it is ours; others' is left as it is.

    `patience` is how many milliseconds a statement of it waits for a lock.

    Who shares sessions out, as PgBouncer does, tells clients of processes that are not the server's.
    """
    values = {**{name: _value(name) for name in _SETTINGS}, "lock_timeout": f"'{max(patience, 1)}'"}
    return ", ".join(
        f"set_config('{name}', CASE WHEN {own} THEN {value} ELSE current_setting('{name}') END, false)"
        for name, value in values.items()
    )


def _value(name: str) -> str:
    return _SETTINGS[name].format(now=f"current_setting('{name}')")


IN_EACH = "SELECT " + ", ".join(f"set_config('{name}', {_value(name)}, true)" for name in _SETTINGS)
"""What sets one transaction, in a session that is ours for that long."""
