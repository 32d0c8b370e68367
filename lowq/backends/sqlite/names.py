"""What our tables are called: in a file of ours as statements have it, in an application's with ``lowq_`` before."""

from __future__ import annotations

import re
import sqlite3
from functools import lru_cache
from typing import Any

_TABLE = re.compile(r"\b(FROM|INTO|UPDATE|TABLE|INDEX|ON|REINDEX) (task|queue|ready|timed|standing|dead)\b|'task'")


@lru_cache(256)
def in_shared_tables(statement: str) -> str:
    """The statement, about the tables in an application's file."""
    return _TABLE.sub(lambda found: f"{found[1]} lowq_{found[2]}" if found[1] else "'lowq_task'", statement)


class SharedCursor(sqlite3.Cursor):
    """A cursor whose statements are about the tables in an application's file."""

    def execute(self, statement: str, *values: Any) -> SharedCursor:
        """As Cursor.execute."""
        return super().execute(in_shared_tables(statement), *values)

    def executemany(self, statement: str, *values: Any) -> SharedCursor:
        """As Cursor.executemany."""
        return super().executemany(in_shared_tables(statement), *values)
