"""Cuts the time for which SQLite waits for a lock, so that what a queue does when that is over is seen soon.

What it does then does not depend on how long it waited. A queue that waits in another way waits as long as it likes.
"""

from __future__ import annotations

import sqlite3
from functools import wraps
from typing import Any


def cut_waits(seconds: float) -> None:
    """From now on, connections of this process wait that many seconds at most, whatever is asked for."""
    connect = sqlite3.connect

    @wraps(connect)
    def impatient(database: Any, *arguments: Any, **keywords: Any) -> Any:
        if arguments:
            arguments = (min(arguments[0], seconds), *arguments[1:])
        else:
            keywords["timeout"] = min(keywords.get("timeout", seconds), seconds)
        return connect(database, *arguments, **keywords)

    sqlite3.connect = sqlite3.dbapi2.connect = impatient
