"""The limit: the SQLite statements that lowq needs, written by hand, with nothing around them.

The same table and indexes as lowq's, the same answer to equal works, a token for each claim, leases that run out, and
the same transactions; no checks, no named errors, no locks between threads, no bell, no way across a fork.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lowq

LEASE = 60_000_000
"""Microseconds."""


@cache
def schema() -> tuple[str, ...]:
    """The statements that make lowq's tables and indexes, as a file of lowq's has them."""
    with tempfile.TemporaryDirectory() as folder:
        lowq.open_backend(f"{folder}/template.db").close()
        template = sqlite3.connect(f"{folder}/template.db")
        rows = template.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'")
        statements = tuple(row[0] for row in rows)
        template.close()
    return statements


class RawQueue:
    """A queue in one SQLite file, by hand."""

    def __init__(self, path: Path, *, full: bool) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
        db = self.db
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            for statement in schema():
                db.execute(statement)
            db.execute("INSERT INTO queue (name, dedupe) VALUES ('default', 'until_done')")
            db.execute("PRAGMA user_version = 1")
            db.execute("COMMIT")
        db.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def push(self, work: Any) -> None:
        self.push_many([work])

    def push_many(self, works: Iterable[Any]) -> None:
        texts = [self._encode(work) for work in works]
        db, now = self.db, time.time_ns() // 1000
        db.execute("BEGIN IMMEDIATE")
        for text in texts:
            digest = blake2b(text.encode(), digest_size=20, person=b"work").digest()
            standing = db.execute("SELECT min(id) FROM task WHERE queue = 1 AND digest = ? AND state < 3", (digest,))
            if standing.fetchone()[0] is None:
                db.execute(
                    "INSERT INTO task (queue, state, rank, due, digest, not_before, key, work, pushed_at)"
                    " VALUES (1, 1, 0, NULL, ?, NULL, NULL, ?, ?)",
                    (digest, text, now),
                )
        db.execute("COMMIT")

    def claim(self) -> tuple[int, str, Any] | None:
        self.db.execute("BEGIN IMMEDIATE")
        claimed = self._take()
        self.db.execute("COMMIT")
        return claimed

    def ack(self, claimed: tuple[int, str, Any]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self._settle(claimed)
        self.db.execute("COMMIT")

    def ack_and_claim(self, claimed: tuple[int, str, Any]) -> tuple[int, str, Any] | None:
        self.db.execute("BEGIN IMMEDIATE")
        self._settle(claimed)
        following = self._take()
        self.db.execute("COMMIT")
        return following

    def close(self) -> None:
        self.db.close()

    def _take(self) -> tuple[int, str, Any] | None:
        now = time.time_ns() // 1000
        token = os.urandom(8).hex()
        self.db.execute(
            "UPDATE task SET state = 1, due = NULL WHERE id IN"
            " (SELECT id FROM task WHERE queue = 1 AND due <= ? ORDER BY due LIMIT 10000)",
            (now,),
        )
        row = self.db.execute(
            "UPDATE task SET state = 2, token = ?, due = ?, attempts = attempts + 1 WHERE id ="
            " (SELECT id FROM task WHERE queue = 1 AND state = 1 ORDER BY rank, id LIMIT 1)"
            " RETURNING id, work, key, rank, not_before, attempts, state, reason, due",
            (token, now + LEASE),
        ).fetchone()
        return None if row is None else (row[0], token, json.loads(row[1]))

    def _settle(self, claimed: tuple[int, str, Any]) -> None:
        id, token, _ = claimed
        changed = self.db.execute("DELETE FROM task WHERE id = ? AND token = ? AND queue = 1", (id, token))
        if changed.rowcount != 1:
            raise RuntimeError(f"the lease of task {id} was lost")


class RawTwin(RawQueue):
    """The same as lowq does it: one statement where one is enough, and never into a file that is gone.

    Before each call it looks whether the file is still the one that was opened, and after a push whether somebody
    waits to be woken.
    """

    def __init__(self, path: Path, *, full: bool) -> None:
        super().__init__(path, full=full)
        self._path, self._bell = str(path), f"{path}-bell"
        self._identity = self._seen()

    def push(self, work: Any) -> None:
        row = self.row(work)
        self._look()
        self.insert(row)
        if os.access(self._bell, os.F_OK):
            raise RuntimeError("nobody was to wait for these tasks")

    def row(self, work: Any) -> tuple[object, ...]:
        """The values of a new task."""
        text = self._encode(work)
        digest = blake2b(text.encode(), digest_size=20, person=b"work").digest()
        return digest, text, time.time_ns() // 1000, zlib.crc32(text.encode()), digest

    def insert(self, row: tuple[object, ...]) -> None:
        """The statement of a push alone."""
        self.db.execute(
            "INSERT INTO task (queue, state, rank, due, digest, not_before, key, work, pushed_at, crc)"
            " SELECT 1, 1, 0, NULL, ?, NULL, NULL, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM task WHERE queue = 1 AND digest = ? AND state < 3)",
            row,
        )

    def claim(self) -> tuple[int, str, Any] | None:
        self._look()
        return super().claim()

    def ack(self, claimed: tuple[int, str, Any]) -> None:
        self._look()
        self._settle(claimed)

    def _look(self) -> None:
        if self._seen() != self._identity:
            raise RuntimeError(f"{self._path} was replaced")

    def _seen(self) -> tuple[int, int]:
        status = os.stat(self._path)
        return status.st_dev, status.st_ino
