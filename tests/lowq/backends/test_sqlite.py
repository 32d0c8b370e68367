"""What SQLite's own queue promises beyond the contract: its file, other processes, and what goes wrong with disks.

Long: each thing that can be wrong with a file has a test of its own.
"""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq import (
    BackendUnavailable,
    CorruptQueue,
    Counts,
    FakeClock,
    InvalidLocation,
    Item,
    QueueClosed,
    open_backend,
)
from lowq.backends.sqlite import backend as sqlite
from lowq.backends.sqlite import claims, pushes

MINUTE = timedelta(minutes=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


def raw(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for statement in statements for row in connection.execute(statement).fetchall()]


def pragma(queue: sqlite.SQLiteBackend, name: str) -> object:
    return queue._database.alone(lambda db: db.execute(f"PRAGMA {name}").fetchone()[0])


def test_a_push_survives_power_loss_by_default_and_process_death_by_choice(path: Path) -> None:
    with closing(sqlite.SQLiteBackend(path)) as queue:
        assert pragma(queue, "synchronous") == 2
    with closing(sqlite.SQLiteBackend(path, durability="process")) as queue:
        assert pragma(queue, "synchronous") == 1
    assert raw(path, "PRAGMA journal_mode") == [("wal",)]


def test_an_unknown_durability_is_refused_before_a_file_is_made(path: Path) -> None:
    with pytest.raises(ValueError, match="durability: expected power, process, none, got 'some'"):
        open_backend(path, durability="some")
    assert not path.exists()


def test_options_may_stand_in_the_url(path: Path) -> None:
    with closing(open_backend(f"sqlite://{path}?durability=process&patience=0.5")) as queue:
        assert queue.push(1).added
    with pytest.raises(InvalidLocation, match="unknown option 'speed'"):
        open_backend(f"sqlite://{path}?speed=high")


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e300", "", "5s", "٥"])
def test_a_patience_that_is_none_is_refused_by_name(path: Path, text: str) -> None:
    with pytest.raises(InvalidLocation, match="patience: expected seconds, a number from 0 to"):
        open_backend(f"sqlite://{path}?patience={text}")
    assert not path.exists()


def test_a_patience_longer_than_sqlite_counts_is_waited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite.SQLiteBackend(path, patience=timedelta(days=25))) as queue:
        assert pragma(queue, "busy_timeout") == 25 * 24 * 3600 * 1000 / 2
    monkeypatch.setattr("lowq.backends.sqlite.database._LONGEST_WAIT", timedelta(milliseconds=5))
    with (
        closing(open_backend(path, patience=timedelta(seconds=BOUND))) as queue,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        letting_go = threading.Timer(0.2, other.execute, ("ROLLBACK",))
        letting_go.start()
        assert queue.push("after several waits").added
        letting_go.join()


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off"])
def test_create_may_be_switched_off_in_the_url(path: Path, text: str) -> None:
    with pytest.raises(InvalidLocation, match="there is no queue here"):
        open_backend(f"sqlite://{path}?create={text}")
    assert not path.exists()


def test_what_create_is_not_is_refused_by_name(path: Path) -> None:
    with pytest.raises(InvalidLocation, match="create: expected true or false, got 'maybe'"):
        open_backend(f"sqlite://{path}?create=maybe")
    with pytest.raises(TypeError, match="create: expected True or False, got int"):
        open_backend(path, create=0)
    assert not path.exists()


def test_without_create_nothing_is_written_to_an_empty_file(path: Path) -> None:
    path.touch()
    with pytest.raises(InvalidLocation, match="is empty: there is no queue here"):
        open_backend(path, create=False)
    assert [(file, file.stat().st_size) for file in path.parent.iterdir()] == [(path, 0)]


def test_an_id_is_never_used_again(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        first = queue.push("a").id
        assert queue.cancel(first)
    with closing(open_backend(path)) as queue:
        second = queue.push("a").id
        assert queue.task(first) is None
        assert int(second) > int(first)


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    open_backend(path).close()
    raw(path, "PRAGMA user_version = 99")
    with pytest.raises(InvalidLocation, match=r"newer lowq \(schema 99, this lowq knows 2\); upgrade lowq"):
        open_backend(path)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 7", "PRAGMA application_id = 1"]
)
def test_a_database_of_another_program_is_refused_and_left_alone(path: Path, statement: str) -> None:
    raw(path, statement)
    before = path.read_bytes()
    with pytest.raises(InvalidLocation, match="another program"):
        open_backend(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, this is no database but a text of more than a hundred bytes." * 9)
    before = path.read_bytes()
    with pytest.raises(InvalidLocation, match="no SQLite database"):
        open_backend(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_queue(path: Path) -> None:
    path.touch()
    with closing(open_backend(path)) as queue:
        assert queue.push(1).added


def test_a_directory_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidLocation, match=r"the directory .*nowhere does not exist"):
        open_backend(tmp_path / "nowhere" / "q.db")
    with pytest.raises(InvalidLocation, match="is a directory"):
        open_backend(tmp_path)


def test_without_create_no_file_is_made(path: Path) -> None:
    with pytest.raises(InvalidLocation, match="there is no queue here"):
        open_backend(path, create=False)
    assert not path.exists()


def test_without_create_no_name_is_made(path: Path) -> None:
    open_backend(path).close()
    with pytest.raises(InvalidLocation, match="there is no queue 'typo' here; there is default"):
        open_backend(path, name="typo", create=False)
    assert raw(path, "SELECT name FROM queue") == [("default",)]


def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        queue.push_many([Item({"n": n, "text": "x" * 200}) for n in range(2000)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(CorruptQueue, match="damaged"), closing(open_backend(path)) as queue:
        queue.claim(lease_for=MINUTE)


def test_a_file_that_is_gone_refuses_pushes_instead_of_losing_them(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        queue.push("kept")
        for file in path.parent.iterdir():
            file.unlink()
        with pytest.raises(BackendUnavailable, match="is gone"):
            queue.push("lost?")


def test_a_file_that_was_replaced_refuses_pushes_instead_of_losing_them(path: Path) -> None:
    with closing(open_backend(path)) as queue, closing(open_backend(path.with_name("other.db"))) as other:
        queue.push("kept")
        other.push("other")
        path.with_name("other.db").replace(path)
        with pytest.raises(BackendUnavailable, match="replaced"):
            queue.push("lost?")


def test_a_lock_that_stays_is_a_named_error_after_the_patience(path: Path) -> None:
    with closing(open_backend(path, patience=timedelta(seconds=0.2))) as queue:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BackendUnavailable, match=r"kept the database locked for 0\.2 s"):
                queue.push("a")
        assert queue.push("a").added


def test_writers_wait_for_each_other(path: Path) -> None:
    with closing(open_backend(path)) as queue, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pushed: list[bool] = []
        pusher = threading.Thread(target=lambda: pushed.append(queue.push("a").added))
        pusher.start()
        other.execute("COMMIT")
        pusher.join(BOUND)
        assert pushed == [True]


FULL_DISK = """
    import resource, signal, sys, lowq
    queue = lowq.open_backend(sys.argv[1])
    queue.push("first")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        for n in range(1000):
            queue.push({"n": n, "text": "x" * 5000})
    except lowq.BackendUnavailable as error:
        print(n, error)
"""


def test_a_full_disk_is_a_named_error_and_loses_nothing_that_was_pushed(path: Path) -> None:
    told = answer(python(FULL_DISK, path))
    refused, _, message = told.partition(" ")
    assert "full" in message or "I/O" in message
    with closing(open_backend(path)) as queue:
        assert queue.count().ready == 1 + int(refused)


READ_ONLY = """
    import os, pathlib, sys, lowq, lowq.backends.sqlite.backend
    if os.getuid() == 0:  # whom no permission stops
        os.setgid(65534); os.setuid(65534)
    try:
        queue = lowq.open_backend(sys.argv[1])
        queue.push("a")
    except lowq.BackendUnavailable as error:
        print(error)
"""


def test_a_read_only_file_is_a_named_error() -> None:
    with TemporaryDirectory() as folder:  # not tmp_path, whose parents nobody else may enter
        path = Path(folder, "q.db")
        open_backend(path).close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        told = answer(python(READ_ONLY, path))
        Path(folder).chmod(0o755)
    assert f"{path} cannot be written; check the permissions" in told


def test_a_lease_of_zero_writes_nothing(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        queue.push("a")
        with pytest.raises(ValueError, match="lease_for: expected more than zero"):
            queue.claim(lease_for=timedelta(0))
        assert queue.count() == Counts(ready=1)


def test_a_backlog_that_falls_due_at_once_is_handed_out_by_priority(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PROMOTED", 10)
    clock = FakeClock()
    with closing(open_backend(path, clock=clock)) as queue:
        later = clock.now() + MINUTE
        queue.push_many([Item(n, priority=n % 7, not_before=later + timedelta(seconds=n)) for n in range(55)])
        clock.advance(timedelta(hours=1))
        lease = queue.claim(lease_for=MINUTE)
        works = []
        while lease is not None:
            works.append(lease.work)
            lease = queue.ack(lease, claim_for=MINUTE)
    assert works == sorted(range(55), key=lambda n: (-(n % 7), n))


def test_an_ack_that_claims_finds_all_that_fell_due_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PROMOTED", 10)
    clock = FakeClock()
    with closing(open_backend(path, clock=clock)) as queue:
        queue.push("first")
        queue.push_many([Item(n, priority=n, not_before=clock.now() + MINUTE) for n in range(55)])
        lease = queue.claim(lease_for=timedelta(hours=2))
        clock.advance(timedelta(hours=1))
        assert lease is not None
        following = queue.ack(lease, claim_for=MINUTE)
        assert following is not None
        assert following.work == 54


MANY_PUSHERS = """
    import sys, lowq
    queue = lowq.open_backend(sys.argv[1], durability="process")
    for n in range(100):
        queue.push([sys.argv[2], n])
        queue.push(n)
"""


def test_a_push_whose_equal_ends_while_it_looks_is_added(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite.SQLiteBackend(path)) as queue, closing(open_backend(path)) as other:
        queue.push(1)
        looked = pushes.standing_task

        def finished_by_another(*args: Any) -> int | None:
            lease = other.claim(lease_for=MINUTE)
            if lease is not None:
                other.ack(lease)
            return looked(*args)

        monkeypatch.setattr(pushes, "standing_task", finished_by_another)

        assert queue.push(1).added
        assert queue.count() == Counts(ready=1)


def test_processes_that_make_one_queue_at_once_all_succeed(path: Path) -> None:
    pushers = [python(MANY_PUSHERS, path, name) for name in range(6)]
    for pusher in pushers:
        answer(pusher)
    with closing(open_backend(path)) as queue:
        works = [task.work for task in queue.tasks()]
    assert sorted(map(str, works)) == sorted(
        [str([str(p), n]) for p in range(6) for n in range(100)] + [str(n) for n in range(100)]
    )


KILLED_PUSHER = """
    import itertools, sys, lowq
    queue = lowq.open_backend(sys.argv[1])
    for n in itertools.count():
        queue.push(n)
        print(n, flush=True)
"""


def test_threads_that_make_one_queue_at_once_all_succeed(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def make(path: Path) -> None:
        together.wait(BOUND)
        open_backend(path).close()

    with ThreadPoolExecutor(3) as pool:
        for number in range(30):
            made = [pool.submit(make, tmp_path / f"{number}.db") for _ in range(3)]
            assert [future.exception(BOUND) for future in made] == [None] * 3


def test_a_push_that_returned_survives_kill_9(path: Path) -> None:
    pusher = python(KILLED_PUSHER, path)
    assert pusher.stdout is not None
    for _ in range(50):
        pusher.stdout.readline()
    pusher.send_signal(signal.SIGKILL)
    returned = 50 + len(pusher.stdout.read().splitlines())  # communicate() would lose what was read ahead
    pusher.communicate(timeout=BOUND)
    with closing(open_backend(path)) as queue:
        works = [task.work for task in queue.tasks()]
    assert works[:returned] == list(range(returned))
    assert len(works) <= returned + 1


def open_files() -> list[str]:
    """What the descriptors of this process stand for."""
    links = Path("/proc/self/fd").iterdir()
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def in_child(work: object) -> int:
    """Fork, do it in the child, and give the child's exit status: 0 where it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()  # type: ignore[operator]  # a callable
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_client_is_usable_on_both_sides_of_a_fork(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        queue.push("before")
        assert in_child(lambda: queue.push("child")) == 0
        queue.push("parent")
        assert [task.work for task in queue.tasks()] == ["before", "child", "parent"]


def test_a_child_keeps_its_queue_when_the_parent_closes(path: Path) -> None:
    queue = open_backend(path)
    queue.push("before")
    read, write = os.pipe()

    def push_when_told() -> None:
        queue.push("child 1")
        os.read(read, 1)
        queue.push("child 2")

    pid = os.fork()
    if pid == 0:
        try:
            push_when_told()
        finally:
            os._exit(0)
    queue.close()
    os.write(write, b"!")
    os.waitpid(pid, 0)
    with closing(open_backend(path)) as again:
        assert [task.work for task in again.tasks()] == ["before", "child 1", "child 2"]


def test_a_fork_while_another_thread_writes_leaves_no_lock_behind(path: Path) -> None:
    with closing(open_backend(path, durability="process")) as queue:
        stop = threading.Event()

        def push() -> None:
            for n in range(1_000_000):
                queue.push(n)
                if stop.is_set():
                    return

        pusher = threading.Thread(target=push)
        pusher.start()
        try:
            statuses = [in_child(lambda: queue.push("child")) for _ in range(20)]
        finally:
            stop.set()
            pusher.join(BOUND)
        assert statuses == [0] * 20


def test_the_clock_is_the_callers(path: Path) -> None:
    clock = FakeClock(datetime(2031, 5, 1, tzinfo=UTC))
    with closing(open_backend(path, clock=clock)) as queue:
        queue.push("a", not_before=clock.now() + MINUTE)
        assert queue.claim(lease_for=MINUTE) is None
        clock.advance(MINUTE)
        lease = queue.claim(lease_for=MINUTE)
        assert lease is not None
        assert lease.expires == datetime(2031, 5, 1, 0, 2, tzinfo=UTC)


def test_a_waiting_claim_is_woken_by_another_process(path: Path) -> None:
    with closing(open_backend(path)) as queue:
        pusher = python("import sys, lowq; sys.stdin.readline(); lowq.open_backend(sys.argv[1]).push('here')", path)
        assert pusher.stdin is not None
        threading.Timer(0.3, lambda: (pusher.stdin.write("go\n"), pusher.stdin.flush())).start()  # type: ignore[union-attr]
        lease = queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))
        answer(pusher)
    assert lease is not None
    assert lease.work == "here"


def test_closing_ends_a_claim_that_waits(path: Path) -> None:
    queue = open_backend(path)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))
        except QueueClosed as error:
            ended.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    queue.close()
    waiter.join(BOUND)
    assert len(ended) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a listing of open files")
def test_close_lets_every_file_go(path: Path) -> None:
    queue = open_backend(path)
    queue.push("a")
    queue.claim(lease_for=MINUTE)
    queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=1))
    assert f"{path}" in open_files()
    queue.close()
    assert not any(file.startswith(f"{path}") for file in open_files())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a listing of open files")
def test_a_client_that_is_dropped_leaves_no_file_open(path: Path) -> None:
    queue = open_backend(path)
    queue.push("a")
    assert f"{path}" in open_files()
    del queue
    gc.collect()
    assert not any(file.startswith(f"{path}") for file in open_files())


def test_names_share_the_file_and_nothing_else(path: Path) -> None:
    with closing(open_backend(path, name="a")) as a, closing(open_backend(path, name="b", dedupe="off")) as b:
        one, two = a.push(1), b.push(1)
        assert one.id != two.id
        assert a.task(two.id) is None
        assert not a.cancel(two.id)
        assert (a.count(), b.count()) == (Counts(ready=1), Counts(ready=1))
        assert sys.modules["lowq.backends.sqlite.backend"] is sqlite


def test_the_log_is_short_again_once_a_reader_that_stayed_is_gone(path: Path) -> None:
    log = path.with_name("q.db-wal")
    with closing(open_backend(path, durability="none")) as queue:
        queue.push("seen")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM task").fetchone()
            for number in range(4):
                queue.push_many([Item({"n": number, "i": i, "text": "x" * 10_000}) for i in range(400)])
            assert log.stat().st_size > 12 << 20
            reader.execute("COMMIT")
        for number in range(3):
            queue.push(number)

        assert log.stat().st_size <= 4 << 20


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o664), (0o002, 0o664), (0o022, 0o644), (0o077, 0o600)], ids=oct)
def test_a_group_for_which_the_umask_leaves_room_may_write_a_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with closing(open_backend(tmp_path / "q.db")) as queue:
            queue.push("work")
            made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("q.db*")}
    finally:
        os.umask(before)

    assert made == dict.fromkeys(made, mode)
    assert "q.db" in made


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "q.db").touch(0o600)

    with closing(open_backend(tmp_path / "q.db")) as queue:
        queue.push("work")

    assert stat.S_IMODE((tmp_path / "q.db").stat().st_mode) == 0o600
