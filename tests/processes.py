"""Other processes for tests: fresh interpreters that run a few lines and answer on their standard output."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

BOUND = 3600 if "LOWQ_EXHAUSTIVE" in os.environ else 60
"""Seconds after which a test no longer waits: far more than anything here takes."""


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A started interpreter that runs `program` with these as sys.argv[1:], its pipes open."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    """What the process printed, once it has ended well."""
    out, errors = process.communicate(timeout=BOUND)
    assert process.returncode == 0, errors
    return out.strip()


def wait_for(happened: Callable[[], object]) -> None:
    """Return when it happened, whatever clock a test has stopped meanwhile; fail where it does not within BOUND."""
    for _ in range(BOUND * 200):
        if happened():
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"it did not happen within {BOUND} s")
