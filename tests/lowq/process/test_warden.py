"""Process groups that end with who asked for them."""

from __future__ import annotations

import subprocess
from contextlib import closing

import pytest
from processes import BOUND, python

from lowq.process.forking import ForkUnavailable
from lowq.process.warden import Warden


def sleeping(group: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "300"], process_group=group)


def test_what_is_in_a_group_ends_with_the_warden_and_what_was_released_does_not() -> None:
    warden = Warden()
    try:
        first, second = warden.group(), warden.group()
        kept, left = sleeping(first), sleeping(second)
        warden.release(second)
    finally:
        warden.close()
    try:
        assert (kept.wait(BOUND), left.poll()) == (-9, None)
    finally:
        left.kill()
        left.wait(BOUND)


def test_a_warden_that_was_killed_takes_its_groups_along_and_makes_no_more() -> None:
    with closing(Warden()) as warden, sleeping(warden.group()) as program:
        subprocess.run(["kill", "-9", str(warden.pid)], check=True)

        assert program.wait(BOUND) == -9
        with pytest.raises(ForkUnavailable):
            warden.group()


def test_a_killed_process_leaves_nothing_of_its_groups() -> None:
    killed = python("""
        import os, signal, subprocess
        from lowq.process.warden import Warden
        program = subprocess.Popen(["sleep", "300"], process_group=Warden().group())
        print(program.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    out, _ = killed.communicate(timeout=BOUND)  # the sleeping program has its standard output open, too

    assert int(out) > 0
