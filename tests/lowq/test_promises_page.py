"""The table of what each location keeps, in docs/move.md, says what the backends say."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lowq_conformance.contract.promises import PROMISES

from lowq.backends.files.backend import FilesBackend
from lowq.backends.memory.backend import MemoryBackend
from lowq.backends.postgres.backend import PostgresBackend
from lowq.backends.redis.backend import RedisBackend
from lowq.backends.sqlite.backend import SQLiteBackend

PAGE = Path(__file__).parents[2] / "docs" / "move.md"
BEGIN, END = "<!-- promises: begin -->\n", "<!-- promises: end -->"
LOOSE = {"fifo", "priority"}


def sqlite(*, shared: bool) -> frozenset[str]:
    """What the backend says of a file of lowq's own, or of the application's."""
    with TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/app.db")) as file:
        file.execute("PRAGMA journal_mode = WAL")
        with closing(SQLiteBackend(f"{folder}/app.db" if shared else f"{folder}/jobs.db", shared=shared)) as backend:
            return backend.promises


def redis(durability: str) -> frozenset[str]:
    """What the backend says of a server that is set up so."""
    backend: Any = object.__new__(RedisBackend)
    backend._durability = durability
    return backend.promises  # type: ignore[no-any-return]


KEPT = {
    "a file": sqlite(shared=False),
    "`?shared=1`": sqlite(shared=True),
    "a directory": FilesBackend.promises,
    "PostgreSQL": PostgresBackend.promises,
    "`?order=loose`": PostgresBackend.promises - LOOSE,  # tests/lowq/backends/test_postgres_loose.py
    "Redis, `appendonly yes`": redis("second"),
    "Redis without": redis("none"),
    "memory": MemoryBackend.promises,
}


def table() -> str:
    """The table as it is to stand in the page."""
    lines = [f"| promise | | {' | '.join(KEPT)} |", f"|---|---|{'---|' * len(KEPT)}"]
    for word, promise in PROMISES.items():
        if any(word in kept for kept in KEPT.values()):
            cells = " | ".join("✓" if word in kept else "–" for kept in KEPT.values())
            lines.append(f"| `{word}` | {promise.says} | {cells} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_the_page_is_what_the_backends_promise() -> None:
    _, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    shown, end, _ = rest.partition(END)

    assert (begin, end) == (BEGIN, END)
    assert shown == table(), f"put this between the two comments of {PAGE}:\n{table()}"


def test_both_ways_of_syncing_keep_the_same() -> None:
    assert redis("power") == redis("second")
    assert redis("unknown") == redis("none")


def test_no_backend_promises_a_word_that_the_suite_does_not_know() -> None:
    assert set().union(*KEPT.values()) <= set(PROMISES)
