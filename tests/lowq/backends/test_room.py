"""A file whose queue was large becomes small again, by whoever waits for a task or by `lowq compact`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from lowq import Backend, InvalidLocation, Item, open_backend
from lowq.backends.sqlite.room import LEAST
from lowq.cli import main
from lowq.location import compact

MINUTE = timedelta(minutes=1)
PAGE = 4096
SMALL = (LEAST + 200) * PAGE


def filled(path: Path, tasks: int = 30_000) -> Backend:
    """A queue in a file that is large."""
    queue = open_backend(path, durability="none")
    queue.push_many([_item(number) for number in range(tasks)])
    return queue


def _item(number: int) -> Item:
    return Item({"number": number, "text": "x" * 100})


def emptied(queue: Backend) -> None:
    """All tasks but one, of some day, were done."""
    while leases := queue.claim_many(5000, lease_for=MINUTE):
        queue.ack_many(leases)


def old(path: Path) -> None:
    """The file is as an older lowq made it: without a map of its pages."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)


def test_whoever_waits_for_a_task_makes_the_file_small_again(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    queue = filled(path)
    emptied(queue)
    large = path.stat().st_size

    for _ in range(50):
        queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=500))
        if path.stat().st_size < SMALL:
            break

    assert large > 1.3 * SMALL
    assert path.stat().st_size < SMALL
    assert (tmp_path / "q.db-wal").stat().st_size <= 1 << 20
    queue.push("afterwards")
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    assert lease.work == "afterwards"
    queue.close()


def test_what_comes_meanwhile_is_handed_out_at_once(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    queue, other = filled(path), open_backend(path, durability="none")
    emptied(queue)

    pusher = threading.Timer(0.1, other.push, ("meanwhile",))
    pusher.start()
    lease = queue.claim(lease_for=MINUTE, wait=MINUTE)
    pusher.join()

    assert lease is not None
    assert lease.work == "meanwhile"
    queue.close()
    other.close()


def test_the_command_makes_it_as_small_as_it_can_be_while_others_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "q.db"
    queue = filled(path, 5000)
    emptied(queue)
    queue.push("stays")

    assert main(["compact", str(path), "--json"]) == 0

    assert path.stat().st_size <= 20 * PAGE
    assert '"after": ' in capsys.readouterr().out
    assert [task.work for task in queue.tasks()] == ["stays"]
    queue.close()


def test_a_file_of_an_older_lowq_is_written_anew_where_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "q.db"
    queue = filled(path, 5000)
    queue.close()
    old(path)
    queue = filled(path, 5000)
    emptied(queue)
    queue.push("stays")

    assert main(["compact", str(path)]) == 2
    assert "say --rewrite" in capsys.readouterr().err
    assert main(["compact", str(path), "--rewrite"]) == 0

    assert path.stat().st_size <= 20 * PAGE
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert [task.work for task in queue.tasks()] == ["stays"]
    queue.close()


@pytest.mark.parametrize("place", ["nothing.db", "empty.db", "memory://x"])
def test_what_is_no_queue_is_not_compacted(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(InvalidLocation):
        compact(place if "://" in place else tmp_path / place)
    assert (tmp_path / "empty.db").stat().st_size == 0


READER = """
import sys, lowq
queue = lowq.open_backend(sys.argv[1])
print("reads", flush=True)
while True:
    queue.tasks(limit=50)
"""


SALT = slice(16, 24)
"""Where a log's header has what is new each time that the log begins anew (SQLite's file format, section 4.1)."""
MANY = 20_000
"""Pushes after which a log that never begins anew has some 500 MB."""


def test_the_log_begins_anew_though_readers_overlap(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    queue = filled(path, 2000)
    readers = [subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reads\n"
        log, pushed = tmp_path / "q.db-wal", 0
        beginnings: set[bytes] = set()
        while len(beginnings) < 3 and pushed < MANY:
            pushed += queue.push({"number": pushed, "text": "y" * 3000}).added
            with log.open("rb") as file:
                beginnings.add(file.read(SALT.stop)[SALT])
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
    queue.close()

    assert len(beginnings) == 3
