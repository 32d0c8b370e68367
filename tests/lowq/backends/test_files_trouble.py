"""A queue in a directory when something goes wrong, and between processes and threads."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from directory import MINUTE, claimed, drained, opened, tasks_in
from processes import BOUND, answer, python

from lowq import (
    Backend,
    BackendUnavailable,
    CorruptQueue,
    Counts,
    Item,
    LeaseLost,
    QueueClosed,
    QueueGone,
    open_backend,
)
from lowq.backends.files import folder, journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q"


# what goes wrong


def test_a_directory_that_is_gone_refuses_pushes_instead_of_losing_them(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("kept")
        path.rename(path.with_name("elsewhere"))
        for _ in range(2):
            with pytest.raises(QueueGone, match=f"{path} is gone; open the queue again"):
                queue.push("lost?")


def test_a_directory_that_was_replaced_refuses_pushes_instead_of_losing_them(path: Path) -> None:
    other = path.with_name("other")
    with closing(opened(path)) as queue:
        queue.push("kept")
        opened(other).close()
        path.rename(path.with_name("elsewhere"))
        other.rename(path)
        with pytest.raises(QueueGone, match=f"{path} was replaced"):
            queue.push("lost?")


def test_a_lock_that_stays_is_a_named_error_after_the_patience(path: Path) -> None:
    with closing(opened(path, patience=timedelta(seconds=0.2))) as queue:
        with (path / ".lowq" / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(BackendUnavailable, match=r"another process kept the queue locked for 0\.2 s"):
                queue.push("a")
        assert queue.push("a").added


def test_a_call_inside_a_call_of_the_same_thread_is_refused_and_harms_neither(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(path)) as queue:
        append = journal.Journal.append

        def interrupted(*arguments: Any) -> int:
            monkeypatch.undo()
            with pytest.raises(
                BackendUnavailable,
                match="this call runs in a signal handler or a finalizer, in the middle of another call",
            ):
                queue.push("inner")
            return append(*arguments)

        monkeypatch.setattr(journal.Journal, "append", interrupted)
        assert queue.push("outer").added
        assert drained(queue) == ["outer"]


FULL_DISK = """
    import resource, signal, sys, lowq
    from datetime import timedelta
    minute = timedelta(minutes=1)
    queue = lowq.open_backend(sys.argv[1])
    queue.push_many([lowq.Item(n) for n in range(3)])
    held = queue.claim(lease_for=minute)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    for push in (lambda: queue.push("x" * 9000), lambda: queue.push_many([lowq.Item("y"), lowq.Item("x" * 9000)])):
        try:
            push()
        except lowq.BackendUnavailable as error:
            print(error)
    for n in range(400):  # more than the journal has room for below the limit
        lease = queue.claim(lease_for=minute)
        queue.release(lease)
    queue.ack(held)
    print(queue.count())
"""


@pytest.mark.parametrize("limit", [8_000, 20_000])
def test_a_full_disk_is_a_named_error_and_what_is_there_can_be_claimed_and_acked(path: Path, limit: int) -> None:
    told = answer(python(FULL_DISK, f"files://{path}", limit)).splitlines()
    if limit < 9_000:
        assert told[:2] == [f"{path}: the disk is full (File too large); nothing was written"] * 2
        assert told[2:] == ["Counts(scheduled=0, ready=2, leased=0, dead=0)"]
    else:
        assert told == ["Counts(scheduled=0, ready=4, leased=0, dead=0)"]
    with closing(opened(path)) as queue:
        assert queue.count() == Counts(ready=2 if limit < 9_000 else 4)


@pytest.mark.parametrize("failing", ["write", "sync_file", "rename", "sync_folder"])
def test_what_the_disk_refuses_is_a_named_error_and_absent(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with closing(open_backend(f"files://{path}")) as queue:
        queue.push("kept")
        monkeypatch.setattr(folder if failing == "sync_file" else folder.Folder, failing, refuse)
        with pytest.raises(BackendUnavailable, match="the disk is full"):
            queue.push_many([Item("a"), Item("b")])
        monkeypatch.undo()
        assert queue.count() == Counts(ready=1)
        assert queue.push_many([Item("a"), Item("b")])[1].added
        with closing(opened(path)) as other:
            assert drained(other) == ["kept", "a", "b"]


@pytest.mark.parametrize("writes", range(4))
def test_a_batch_for_which_there_is_no_room_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    write, left = folder.Folder.write, [writes]

    def refuse(self: folder.Folder, data: bytes, *, sync: bool = True) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(self, data, sync=sync)

    with closing(opened(path)) as queue:
        monkeypatch.setattr(folder.Folder, "write", refuse)
        with pytest.raises(BackendUnavailable, match="the disk is full"):
            queue.push_many([Item(1), Item(2), Item(3)])
        assert queue.count() == Counts()
    assert list((path / ".lowq" / "tmp").iterdir()) == []


READ_ONLY = """
    import os, sys, lowq, lowq.location, lowq.backends.files.backend
    lowq.location.locate("files:///imports/all?that=it&uses=")
    if os.getuid() == 0:  # whom no permission stops
        os.setgid(65534); os.setuid(65534)
    try:
        queue = lowq.open_backend(sys.argv[1])
        queue.push("a")
    except lowq.BackendUnavailable as error:
        print(error)
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_directory_is_a_named_error(there: bool) -> None:
    with TemporaryDirectory() as parent:  # not tmp_path, whose parents nobody else may enter
        path = Path(parent, "q")
        if there:
            opened(path).close()
        for each in (path / ".lowq", path, Path(parent)):
            if each.exists():
                each.chmod(0o555)
        (path / ".lowq" / "lock").chmod(0o444) if there else None
        told = answer(python(READ_ONLY, f"files://{path}"))
        for each in (Path(parent), path, path / ".lowq"):
            if each.exists():
                each.chmod(0o755)
    assert f"{path} cannot be written (Permission denied); check the permissions" in told


# other processes and threads

MANY_PUSHERS = """
    import sys, lowq
    queue = lowq.open_backend(sys.argv[1])
    for n in range(60):
        queue.push([sys.argv[2], n])
        queue.push(n)
"""


def test_processes_that_make_one_queue_at_once_all_succeed(path: Path) -> None:
    for pusher in [python(MANY_PUSHERS, f"files://{path}?durability=process", name) for name in range(4)]:
        answer(pusher)
    with closing(opened(path)) as queue:
        works = [task.work for task in queue.tasks()]
    assert sorted(map(str, works)) == sorted(
        [str([str(p), n]) for p in range(4) for n in range(60)] + [str(n) for n in range(60)]
    )


KILLED_PUSHER = """
    import itertools, sys, lowq
    queue = lowq.open_backend(sys.argv[1])
    for n in itertools.count():
        queue.push(n)
        print(n, flush=True)
"""


def test_a_push_that_returned_survives_kill_9(path: Path) -> None:
    pusher = python(KILLED_PUSHER, f"files://{path}?durability=process")
    assert pusher.stdout is not None
    for _ in range(50):
        pusher.stdout.readline()
    pusher.send_signal(signal.SIGKILL)
    returned = 50 + len(pusher.stdout.read().splitlines())  # communicate() would lose what was read ahead
    pusher.communicate(timeout=BOUND)
    with closing(opened(path)) as queue:
        works = drained(queue)
    assert works[:returned] == list(range(returned))
    assert len(works) <= returned + 1


def in_child(work: Callable[[], object]) -> int:
    """Fork, do it in the child, and give the child's exit status: 0 where it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_client_is_usable_on_both_sides_of_a_fork(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("before")
        assert in_child(lambda: queue.push("child")) == 0
        queue.push("parent")
        assert [task.work for task in queue.tasks()] == ["before", "child", "parent"]


def test_a_fork_while_another_thread_writes_leaves_no_lock_behind(path: Path) -> None:
    with closing(opened(path, patience=timedelta(seconds=BOUND))) as queue:
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


def test_a_waiting_claim_is_woken_by_another_process(path: Path) -> None:
    with closing(opened(path)) as queue:
        pusher = python(
            "import sys, lowq; sys.stdin.readline(); lowq.open_backend(sys.argv[1]).push('here')", f"files://{path}"
        )
        assert pusher.stdin is not None
        threading.Timer(0.3, lambda: (pusher.stdin.write("go\n"), pusher.stdin.flush())).start()  # type: ignore[union-attr]
        lease = queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))
        answer(pusher)
    assert lease is not None
    assert lease.work == "here"


def test_closing_ends_a_claim_that_waits(path: Path) -> None:
    queue = opened(path)
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


def open_files(path: Path) -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    return [file for link in links if os.path.lexists(link) and (file := os.readlink(link)).startswith(f"{path}")]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a listing of open files")
def test_close_lets_every_file_go_and_so_does_a_client_that_is_dropped(path: Path) -> None:
    for let_go in (Backend.close, id):
        queue = opened(path)
        queue.push("a")
        queue.claim(lease_for=MINUTE)
        queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=1))
        assert open_files(path)
        let_go(queue)
        del queue
        gc.collect()
        assert open_files(path) == []


def test_a_file_that_a_person_damages_while_it_is_leased_is_set_aside(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("a")
        lease = claimed(queue)
        (name,) = tasks_in(path)
        (path / name).write_text('{"work": ')
        with pytest.raises(CorruptQueue, match="the file of task 1 was damaged while it was leased"):
            queue.release(lease, reason="why")
        with pytest.raises(LeaseLost):
            queue.ack(lease)
        assert (path / "bad" / name).read_text() == '{"work": '
