"""A queue file that an older version made is brought up to date: whole, by one of many, or refused with a reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

import pytest
from processes import answer, python

from lowq import BackendUnavailable, CorruptQueue, Counts, FakeClock, InvalidLocation, State, Task, open_backend
from lowq.clock import to_micros

MINUTE = timedelta(minutes=1)
LATER = datetime(2031, 1, 1, tzinfo=UTC)
NOBODY = 65534

VERSION_1 = (
    "CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dedupe TEXT NOT NULL)",
    """CREATE TABLE task (
        id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, state INTEGER NOT NULL,
        rank INTEGER NOT NULL, due INTEGER, attempts INTEGER NOT NULL DEFAULT 0, token TEXT,
        digest BLOB NOT NULL, not_before INTEGER, key TEXT, reason TEXT, work TEXT NOT NULL)""",
    "CREATE INDEX ready ON task (queue, rank, id) WHERE state = 1",
    "CREATE INDEX timed ON task (queue, due, id, state) WHERE due IS NOT NULL",
    "CREATE INDEX standing ON task (queue, digest) WHERE state < 3",
    "CREATE INDEX dead ON task (queue, id) WHERE state = 3",
    f"PRAGMA application_id = {int.from_bytes(b'lowq')}",
    "PRAGMA user_version = 1",
)
"""How version 1 made a file, in its own words."""

INSERT_1 = (
    "INSERT INTO task (queue, state, rank, due, digest, not_before, key, work)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM task WHERE queue = ? AND digest = ? AND state < 3"
    " AND (state < 2 OR due <= ?))"
)
"""How version 1 pushed."""


def push_1(db: sqlite3.Connection, work: Any, *, state: int = 1, rank: int = 0, due: int | None = None) -> int:
    text, not_before = json.dumps(work), due if state == 0 else None
    digest = blake2b(text.encode(), digest_size=20, person=b"work").digest()
    values = (1, state, rank, due, digest, not_before, None, text, 1, digest, 2**63 - 1)
    return db.execute(INSERT_1, values).lastrowid or 0


def make_version_1(path: Path) -> None:
    """A file of version 1 with a task in each state: 1 ready, 2 scheduled, 3 leased under the token `t`, 4 dead."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in VERSION_1:
            db.execute(statement)
        db.execute("INSERT INTO queue (name, dedupe) VALUES ('default', 'until_done')")
        later = to_micros(LATER)
        push_1(db, "ready", rank=-5)
        push_1(db, "scheduled", state=0, due=later)
        push_1(db, "leased", state=2, due=later)
        push_1(db, "dead", state=3)
        db.execute("UPDATE task SET token = 't', attempts = 1 WHERE id = 3")
        db.execute("UPDATE task SET reason = 'why', attempts = 9 WHERE id = 4")


def upgraded_at(instant: datetime) -> list[Task]:
    """What the file of `make_version_1` holds after an upgrade at that instant."""
    return [
        Task("1", "ready", None, 5, None, 0, State.READY, None, instant),
        Task("2", "scheduled", None, 0, LATER, 0, State.SCHEDULED, None, instant),
        Task("3", "leased", None, 0, None, 1, State.LEASED, None, instant),
        Task("4", "dead", None, 0, None, 9, State.DEAD, "why", instant),
    ]


def raw(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for statement in statements for row in connection.execute(statement).fetchall()]


def shape(path: Path) -> list[tuple[Any, ...]]:
    """The columns and the indexes of the tasks, and the version."""
    return raw(
        path,
        "SELECT name, type, \"notnull\", pk FROM pragma_table_info('task')",
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
        "PRAGMA user_version",
        "PRAGMA integrity_check",
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "q.db"
    make_version_1(made)
    return made


def test_every_task_of_a_version_1_is_kept(path: Path, clock: FakeClock) -> None:
    with closing(open_backend(path, clock=clock)) as queue:
        assert queue.tasks() == upgraded_at(clock.now())
        assert queue.count() == Counts(1, 1, 1, 1)


def test_the_file_is_then_as_a_new_one_is(path: Path, tmp_path: Path) -> None:
    open_backend(tmp_path / "new.db").close()

    open_backend(path).close()

    assert shape(path) == shape(tmp_path / "new.db")


def test_version_1_is_migrated_once(path: Path, clock: FakeClock) -> None:
    first = clock.now()
    open_backend(path, clock=clock).close()
    clock.advance(MINUTE)

    with closing(open_backend(path, clock=clock)) as queue:
        assert queue.tasks() == upgraded_at(first)
        assert queue.task(queue.push("new", headers={"a": "b"}).id) == Task(
            "5", "new", None, 0, None, 0, State.READY, None, clock.now(), {"a": "b"}
        )


def test_the_queue_works_on_with_the_tasks_of_before(path: Path, clock: FakeClock) -> None:
    with closing(open_backend(path, clock=clock)) as queue:
        assert not queue.push("ready").added
        assert queue.redrive("4")
        first = queue.claim(lease_for=MINUTE)
        assert first is not None
        second = queue.ack(first, claim_for=MINUTE)
        assert second is not None
        assert (first.work, second.work) == ("ready", "dead")
        assert queue.cancel("2")
        clock.move_to(LATER)
        assert [lease.work for lease in queue.claim_many(9, lease_for=MINUTE)] == ["leased", "dead"]


def test_an_old_worker_that_has_the_file_open_goes_on(path: Path, clock: FakeClock) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        push_1(old, "before")

        with closing(open_backend(path, clock=clock)) as queue:
            id = push_1(old, "after")
            assert old.execute("UPDATE task SET attempts = 2 WHERE id = 3 AND token = 't'").rowcount == 1

            assert queue.task(str(id)) == Task("6", "after", None, 0, None, 0, State.READY, None, clock.now())
            assert not queue.push("after").added


# many at once

OPEN = """
import sys, lowq
sys.stdin.readline()
queue = lowq.open_backend(sys.argv[1])
print(len(queue.tasks()), queue.push(sys.argv[2], headers={"by": sys.argv[2]}).added)
queue.close()
"""


def test_many_processes_that_open_it_at_once_upgrade_it_once(path: Path) -> None:
    processes = [python(OPEN, path, number) for number in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    answers = [answer(process) for process in processes]

    assert {text.split()[1] for text in answers} == {"True"}
    with closing(open_backend(path)) as queue:
        assert queue.count() == Counts(scheduled=1, ready=7, leased=1, dead=1)
        assert len({task.pushed_at for task in queue.tasks() if task.id in "1234"}) == 1


def test_a_writer_is_waited_for_and_one_that_stays_is_told(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(BackendUnavailable, match=r"another process kept the database locked for 0\.05 s"):
            open_backend(path, patience=timedelta(milliseconds=50))

        other.execute("ROLLBACK")
    assert raw(path, "PRAGMA user_version") == [(1,)]
    open_backend(path).close()
    assert raw(path, "PRAGMA user_version") == [(2,)]


# killed half-way


def in_a_child(run: Callable[[], object]) -> int:
    """The exit code of a forked child that runs `run`, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        _run_and_leave(run)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run_and_leave(run: Callable[[], object]) -> NoReturn:
    try:
        run()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def open_and_die(path: Path, before: int) -> None:
    """Open the queue; this process is killed before the statement of that number."""
    left = iter(range(before))

    class Killing(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Killing:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().execute(*arguments)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]  # it is called without
            return super().cursor(Killing)

    sqlite3.Connection = Connection  # type: ignore[misc]
    open_backend(path).close()


def test_a_kill_before_any_statement_leaves_it_whole_in_one_version_or_the_other(
    path: Path, tmp_path: Path, clock: FakeClock
) -> None:
    versions = []
    for number in range(200):
        copy = tmp_path / f"{number}.db"
        shutil.copy(path, copy)
        code = in_a_child(lambda file=copy, before=number: open_and_die(file, before))  # type: ignore[misc]
        if code == 0:
            break
        assert code == -signal.SIGKILL
        versions.append(raw(copy, "PRAGMA user_version")[0][0])
        expected = shape(path) if versions[-1] == 1 else None
        assert expected in (None, shape(copy))
        with closing(open_backend(copy, clock=clock)) as queue:
            assert [task.id for task in queue.tasks()] == ["1", "2", "3", "4"]
            assert queue.push("new").added
    else:
        pytest.fail("it was never opened")

    assert versions == sorted(versions)
    assert versions.count(1) > len(("BEGIN IMMEDIATE", "3 columns", "the version")) + 2
    assert versions.count(2) > 0


# where it cannot be written


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may look into, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="lowq-schema-"))
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def refusal(path: Path) -> str:
    """What somebody who may only read the file is told who opens it; the number of its tasks where nothing is."""
    reading, writing = os.pipe()

    def look() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            with closing(open_backend(path, create=False)) as queue:
                told = str(len(queue.tasks()))
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writing, told.encode())

    assert in_a_child(look) == 0
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        return told.read()


@pytest.mark.parametrize(
    ("folder_mode", "told"),
    [
        (
            0o777,
            "was made by an older lowq (schema 1), and this one, which must bring it to schema 2 first, cannot"
            " write it; make the file and its folder writable",
        ),
        (0o555, "cannot be written; check the permissions of the file and its folder"),
    ],
    ids=["the file", "the folder, in which SQLite cannot even read it"],
)
def test_where_it_cannot_be_written_it_is_refused_with_the_reason_and_left_alone(
    folder: Path, folder_mode: int, told: str
) -> None:
    path = folder / "q.db"
    make_version_1(path)
    path.chmod(0o444)
    folder.chmod(folder_mode)
    before = path.read_bytes()

    assert refusal(path) == f"BackendUnavailable: {path} {told}"
    assert path.read_bytes() == before


def test_one_of_this_version_is_read_where_it_cannot_be_written(folder: Path) -> None:
    path = folder / "q.db"
    make_version_1(path)
    queue = open_backend(path)
    folder.chmod(0o777)  # the log and the shared memory beside it are made by whoever comes first
    path.chmod(0o444)

    assert refusal(path) == "4"
    queue.close()


# other versions


def test_a_version_3_is_refused_by_name_and_left_alone(path: Path) -> None:
    raw(path, "PRAGMA user_version = 3")
    before = shape(path)

    with pytest.raises(InvalidLocation) as caught:
        open_backend(path)

    assert str(caught.value) == (f"{path} was made by a newer lowq (schema 3, this lowq knows 2); upgrade lowq")
    assert shape(path) == before


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_no_lowq_wrote_is_damage(path: Path, version: int) -> None:
    raw(path, f"PRAGMA user_version = {version}")

    with pytest.raises(CorruptQueue, match=rf"is damaged \(no lowq wrote schema {version}\); restore it from a copy"):
        open_backend(path)


@pytest.mark.parametrize("statement", ["DROP TABLE task", "ALTER TABLE task ADD COLUMN headers TEXT"])
def test_a_version_1_that_is_not_as_it_was_made_is_damage_and_not_upgraded_half(path: Path, statement: str) -> None:
    raw(path, statement)
    before = shape(path)

    with pytest.raises(CorruptQueue, match="is damaged"):
        open_backend(path)

    assert shape(path) == before
