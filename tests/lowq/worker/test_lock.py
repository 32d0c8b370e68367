"""Which process is the active worker of a queue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowq import BackendUnavailable
from lowq.worker.lock import WorkerLock, active_pid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db-lock"


def test_one_of_two_holds_it_until_it_lets_go(path: Path) -> None:
    first, second = WorkerLock(path), WorkerLock(path)

    assert (first.take(), second.take()) == (True, False)
    first.let_go()
    assert second.take()
    second.let_go()


def test_the_file_stays(path: Path) -> None:
    lock = WorkerLock(path)
    lock.take()
    before = path.stat().st_ino

    lock.let_go()

    assert path.stat().st_ino == before


def test_leaving_it_to_a_child_does_not_unlock_it(path: Path) -> None:
    lock = WorkerLock(path)
    lock.take()
    inherited = os.dup(lock.descriptor)

    lock.leave()

    assert not WorkerLock(path).take()
    os.close(inherited)
    again = WorkerLock(path)
    assert again.take()
    again.let_go()


def test_a_folder_made_anew_has_a_lock_anew(path: Path) -> None:
    old = WorkerLock(path)
    old.take()
    path.unlink()

    new = WorkerLock(path)

    assert new.take()
    old.let_go()
    assert not WorkerLock(path).take()
    new.let_go()


def test_the_holder_that_signed_is_the_active_process(path: Path) -> None:
    lock = WorkerLock(path)
    assert active_pid(path) is None
    lock.take()
    assert active_pid(path) is None

    lock.sign()
    assert active_pid(path) == os.getpid()

    lock.let_go()
    assert active_pid(path) is None


@pytest.mark.parametrize("text", ["", "no pid\n", "-1\n"])
def test_a_file_without_a_pid_names_nobody(path: Path, text: str) -> None:
    path.write_text(text)

    assert active_pid(path) is None


def test_the_pid_of_a_process_that_was_killed_names_nobody(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    path.write_bytes(ended.stdout)

    assert active_pid(path) is None


def test_a_lock_file_that_cannot_be_read_is_said_so(path: Path) -> None:
    path.mkdir()

    with pytest.raises(BackendUnavailable, match=r"q\.db-lock cannot be opened: Is a directory"):
        active_pid(path)
    with pytest.raises(BackendUnavailable, match=r"q\.db-lock cannot be opened: Is a directory"):
        WorkerLock(path).take()


def test_a_holder_that_was_told_to_stop_or_is_gone_serves_nobody(path: Path) -> None:
    lock, other = WorkerLock(path), WorkerLock(path)
    assert lock.take()
    served = [other.is_served()]
    lock.sign()
    served.append(other.is_served())
    lock.sign_off()
    served.append(other.is_served())
    lock.let_go()
    served.append(other.is_served())

    assert served == [True, True, False, False]


def test_a_process_that_is_killed_counts_as_gone_before_it_is_reaped(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path.write_text(f"{process.pid}\n")
    before = active_pid(path)

    process.kill()
    if sys.platform == "linux":
        assert active_pid(path) is None
    process.communicate()

    assert (before, active_pid(path)) == (process.pid, None)
