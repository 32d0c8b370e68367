"""`lowq verify` sees what SQLite cannot; and whatever bytes of a file flip, every error has a name."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lowq import Backend, InvalidLocation, Item, LowqError, open_backend
from lowq.cli import main
from lowq.location import verify

HOUR = timedelta(hours=1)
LATER = datetime(2999, 1, 1, tzinfo=UTC)
FILES = int(os.environ.get("LOWQ_FLIPPED_FILES", "200"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole file with two queues and a task in each state."""
    made = tmp_path / "q.db"
    with closing(open_backend(made)) as queue, closing(open_backend(made, name="mail")) as mail:
        queue.push_many([Item({"n": number}, headers={"h": "v"}, priority=number % 3) for number in range(40)])
        queue.push("later", not_before=LATER)
        queue.push("keyed", key="k")
        queue.dead_letter(claimed(queue), reason="no")
        claimed(queue)
        queue.release(claimed(queue), reason="again")
        mail.push("mail")
    return made


def claimed(queue: Backend) -> Any:
    lease = queue.claim(lease_for=HOUR)
    assert lease is not None
    return lease


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def faults(path: Path) -> list[str]:
    return [finding.fault for finding in verify(path)]


def test_a_whole_file_is_whole_and_nothing_is_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()

    assert verify(path) == []
    assert main(["verify", str(path)]) == 0
    assert main(["verify", str(path), "--json"]) == 0
    assert capsys.readouterr().out == "whole\n"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("work = replace(work, 'n', 'm')", "work, key or headers: not what was pushed (their checksum differs)"),
        ("work = '{\"n\": '", "work: Expecting value: line 1 column 7 (char 6)"),
        ('headers = \'{"h":"w"}\'', "work, key or headers: not what was pushed (their checksum differs)"),
        ("digest = x'00'", "digest: not that of its key or work, so that an equal push may not be refused"),
        ("queue = 7", "queue: 7 is none of this file's, so that nobody gets the task"),
        ("state = 4", "state: 4 is none, so that nobody gets the task"),
        ("state = 2", "due: None does not go with the state"),
        ("due = 5", "due: 5 does not go with the state"),
        ("token = x'00'", "token: bytes is none"),
        ("attempts = -1", "attempts: -1 is no number of claims"),
        ("rank = 'x'", "rank: str is no priority"),
        ("pushed_at = -5", "pushed_at: -5 is no time"),
    ],
)
def test_what_sqlite_cannot_see_is_found_and_told_with_its_task(
    path: Path, assignment: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(path, f"UPDATE task SET {assignment} WHERE id = 20")

    assert main(["verify", str(path), "--json"]) == 1
    (first, *_) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["id"], first["fault"]) == ("20", fault)
    assert main(["verify", str(path)]) == 1
    assert fault in capsys.readouterr().out


def test_what_sqlite_can_see_is_found(path: Path) -> None:
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 3 + 64] = bytes(64)
    path.write_bytes(data)

    assert faults(path)


def test_where_no_queue_is_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    with pytest.raises(InvalidLocation, match="there is no queue here; the file is empty"):
        verify(tmp_path / "empty")
    with pytest.raises(InvalidLocation, match="there is no queue here"):
        verify(tmp_path / "nothing")
    with pytest.raises(InvalidLocation, match="has no file to verify"):
        verify("memory://x")
    assert not (tmp_path / "nothing").exists()


def flip(path: Path, random: Random) -> None:
    """One to eight bytes of the file are other ones."""
    data = bytearray(path.read_bytes())
    for _ in range(random.randint(1, 8)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def use(path: Path) -> Counter[str]:
    """How often each task was handed out by one who does all that can be done, whatever is refused by name."""
    handed_out: Counter[str] = Counter()
    with closing(open_backend(path, create=False, durability="none")) as queue:
        for look in (queue.count, queue.next_due, queue.tasks, lambda: queue.push("new", headers={"a": "b"})):
            with _refused_by_name():
                look()
        with _refused_by_name():
            for lease in queue.claim_many(5, lease_for=HOUR):
                handed_out[lease.id] += 1
                with _refused_by_name():
                    queue.ack(lease)
        with _refused_by_name():
            for _ in range(60):
                lease_ = queue.claim(lease_for=HOUR)
                if lease_ is None:
                    break
                handed_out[lease_.id] += 1
        with _refused_by_name():
            for task in queue.tasks(limit=3):
                queue.task(task.id), queue.redrive(task.id), queue.cancel(task.id)
    return handed_out


class _refused_by_name:  # noqa: N801 - used as a function
    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        return isinstance(error, LowqError)


def test_whatever_bytes_flip_every_error_has_a_name_and_no_task_is_handed_out_twice(
    path: Path, tmp_path: Path
) -> None:
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    random = Random(20261126)
    unseen = 0
    for number in range(FILES):
        copy = tmp_path / f"flipped-{number}.db"
        shutil.copy(path, copy)
        flip(copy, random)
        found: object = None
        try:
            found = verify(copy)
        except LowqError as error:
            found = error
        handed_out: Counter[str] = Counter()
        with _refused_by_name():
            handed_out = use(copy)
        assert set(handed_out.values()) <= {1}, (number, handed_out)
        unseen += not found
        for file in tmp_path.glob(f"flipped-{number}.db*"):
            file.unlink()

    assert unseen < FILES  # the rest hit what no page uses
