"""The files beside a database: what stands there already is never followed, and they are open to no more people."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from processes import answer, python

from lowq import BackendUnavailable, open_backend
from lowq.backends.wakeup import Bell
from lowq.beside import open_beside
from lowq.worker.lock import WorkerLock
from lowq.worker.logfile import open_log


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    open_backend(path).close()
    return path


def take_lock(database: Path) -> Path:
    side = database.with_name("jobs.db-lock")
    lock = WorkerLock(side, database)
    assert lock.take()
    lock.sign()
    lock.let_go()
    return side


def write_log(database: Path) -> Path:
    side = database.with_name("jobs.db-log")
    descriptor = open_log(side, database)
    os.write(descriptor, b"a line\n")
    os.close(descriptor)
    return side


def ring_bell(database: Path) -> Path:
    side = database.with_name("jobs.db-bell")
    bell = Bell(side, database)
    with closing(bell.listener()) as listener:
        listener.open()
        bell.ring()
    return side


USES = pytest.mark.parametrize("use", [take_lock, write_log, ring_bell], ids=["lock", "log", "bell"])


@USES
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644, 0o666], ids=oct)
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_a_side_file_has_the_mode_of_the_database(
    database: Path, use: Callable[[Path], Path], mode: int, umask: int
) -> None:
    database.chmod(mode)
    before = os.umask(umask)
    try:
        side = use(database)
    finally:
        os.umask(before)

    assert stat.S_IMODE(side.stat().st_mode) == mode


@USES
def test_a_side_file_of_an_older_lowq_is_narrowed(database: Path, use: Callable[[Path], Path]) -> None:
    side = use(database)
    side.chmod(0o666)
    database.chmod(0o600)

    use(database)

    assert stat.S_IMODE(side.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@USES
def test_a_side_file_made_by_root_belongs_to_the_databases_owner(database: Path, use: Callable[[Path], Path]) -> None:
    database.chmod(0o640)
    os.chown(database, 65534, 12345)

    status = use(database).stat()

    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 12345, 0o640)


@USES
@pytest.mark.parametrize("what", ["file", "fifo", "nothing"])
def test_a_link_in_its_place_is_never_followed(database: Path, use: Callable[[Path], Path], what: str) -> None:
    target = database.with_name("precious")
    if what == "file":
        target.write_text("precious")
    elif what == "fifo":
        os.mkfifo(target, 0o600)
    for kind in ("lock", "log", "bell"):
        database.with_name(f"jobs.db-{kind}").symlink_to(target)
    before = target.stat() if what != "nothing" else None

    if use is ring_bell:
        use(database)  # nobody is woken, and waiters look by themselves
    else:
        with pytest.raises(BackendUnavailable, match="is a symbolic link, and lowq follows none there: remove it"):
            use(database)

    assert (target.stat() if target.exists() else None) == before


@pytest.mark.parametrize("use", [take_lock, write_log])
def test_what_is_no_regular_file_is_refused_at_once(database: Path, use: Callable[[Path], Path]) -> None:
    for kind in ("lock", "log"):
        os.mkfifo(database.with_name(f"jobs.db-{kind}"))

    with pytest.raises(BackendUnavailable, match=r"is no regular file|cannot be opened"):
        use(database)


def test_the_descriptor_is_closed_when_its_owner_is_dropped(database: Path) -> None:
    before = os.listdir("/dev/fd")

    with pytest.warns(ResourceWarning):
        open_beside(f"{database}-lock", database, os.O_RDWR | os.O_CREAT)

    assert os.listdir("/dev/fd") == before


STRANGER = """
    import os, pathlib, sys
    import lowq, lowq.backends.wakeup, lowq.beside, lowq.worker.lock, lowq.worker.logfile
    database = sys.argv[1]
    os.setgroups([]); os.setgid(65533); os.setuid(65533)
    os.close(lowq.worker.logfile.open_log(pathlib.Path(database + "-log"), database))
    made = os.stat(database + "-log")
    print(oct(made.st_mode & 0o777), made.st_gid)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else at will")
def test_a_group_that_cannot_be_given_gets_what_everybody_gets() -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        database = Path(folder, "jobs.db")
        open_backend(database).close()
        database.chmod(0o660)

        assert answer(python(STRANGER, database)) == "0o600 65533"


def test_a_claim_that_waits_still_hears_a_push(database: Path) -> None:
    with closing(open_backend(database)) as queue:
        pusher = python("import sys, lowq; lowq.open_backend(sys.argv[1]).push(1)", database)
        assert queue.claim(lease_for=timedelta(minutes=1), wait=timedelta(minutes=1)) is not None
        answer(pusher)
