"""Cutting off calls at an instruction, as the tests do it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from cutoff import CutOff, at_instruction


def handle() -> None:
    with suppress(ValueError):
        try:
            raise KeyError(1)
        except KeyError:
            raise ValueError(2) from None


def test_no_exception_stays_handled_behind_a_call_that_was_cut_off() -> None:
    index, reached = 0, True
    while reached:
        with suppress(CutOff):
            reached = at_instruction(index, handle, package=__file__)
        assert sys.exc_info() == (None, None, None), index
        index += 1
    assert index > 10


def test_the_first_call_of_a_process_is_cut_off_too() -> None:
    """Not a matter of course: CPython 3.12 tells of no instruction before the second time that it is asked to."""
    program = """
import test_cutoff
from cutoff import at_instruction

reached = [at_instruction(index, test_cutoff.handle, print, test_cutoff.__file__) for index in range(10)]
assert all(reached), reached
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout) == 10
