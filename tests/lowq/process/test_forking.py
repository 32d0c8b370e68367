"""A forked child runs what it was made for, and holds what it was given."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from processes import answer, python

from lowq.process.forking import close_private, open_private, spawn


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def nothing() -> None: ...


def test_the_child_ends_well_or_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("in the child")

    assert status(spawn(nothing)) == 0
    assert capfd.readouterr() == ("", "")

    assert status(spawn(fail)) == 1
    assert capfd.readouterr().err.endswith("RuntimeError: in the child\n")


def test_a_private_descriptor_is_held_by_the_child_it_is_passed_to_alone() -> None:
    mine, theirs = open_private(os.pipe)

    def check(expected: tuple[bool, bool]) -> Callable[[], None]:
        def look() -> None:
            assert (is_open(mine), is_open(theirs)) == expected

        return look

    assert status(spawn(check((False, False)))) == 0
    assert status(spawn(check((False, True)), keep=[theirs])) == 0
    assert (is_open(mine), is_open(theirs)) == (True, True)
    close_private(mine, theirs)
    assert (is_open(mine), is_open(theirs)) == (False, False)


def test_a_descriptor_is_not_inherited_by_a_grandchild() -> None:
    (read, write) = open_private(os.pipe)

    def fork_again() -> None:
        def look() -> None:
            assert not is_open(write)

        assert status(spawn(look)) == 0
        assert is_open(write)

    assert status(spawn(fork_again, keep=[write])) == 0
    close_private(read, write)


def test_a_descriptor_is_not_inherited_by_a_plain_fork_of_another_thread() -> None:
    read, write = open_private(os.pipe)
    statuses = []

    def fork_plainly() -> None:
        if (pid := os.fork()) == 0:
            os._exit(int(is_open(write)))
        statuses.append(status(pid))

    thread = threading.Thread(target=fork_plainly)
    thread.start()
    thread.join()

    assert statuses == [0]
    close_private(read, write)


def test_closing_what_is_not_held_closes_nobody_elses(pipe: tuple[int, int]) -> None:
    close_private(*pipe)

    assert all(map(is_open, pipe))


def test_the_signal_mask_is_as_before_in_the_parent_and_empty_in_the_child() -> None:
    def look() -> None:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        assert status(spawn(look)) == 0
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_program_whose_standard_streams_are_closed_can_still_fork() -> None:
    program = python(
        """
        import os, sys
        from lowq.process.forking import spawn

        kept = os.dup(1)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        pid = spawn(lambda: print("nowhere"))
        os.write(kept, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os._exit(0)
        """
    )

    assert answer(program) == "0"


def test_a_program_with_threads_may_have_warnings_as_errors() -> None:
    """Python 3.12 and later warn of a fork beside threads; to warn of this one would help nobody."""
    program = python(
        """
        import os, threading, warnings
        from lowq.process.forking import spawn

        warnings.simplefilter("error")
        waiting = threading.Event()
        thread = threading.Thread(target=waiting.wait)
        thread.start()
        print(os.waitstatus_to_exitcode(os.waitpid(spawn(lambda: None), 0)[1]))
        waiting.set()
        """
    )

    assert answer(program) == "0"
