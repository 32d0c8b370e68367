"""The process that knows the tests' workers lets none of them outlive the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Thread

import pytest
from lowq_conformance.subject.reaper import Reaper

BOUND = 30.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_reaper_ends_when_it_is_closed_though_a_worker_holds_its_ear_open() -> None:
    """A worker that the tests forked has whatever they had open, the other end of another place's reaper too."""
    reaper = Reaper()
    pid = os.fork()
    if not pid:
        signal.alarm(int(BOUND))
        signal.pause()
        os._exit(0)
    try:
        closing = Thread(target=reaper.close, daemon=True)
        closing.start()
        closing.join(BOUND / 3)

        assert not closing.is_alive()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_what_is_kept_is_killed_when_the_reaper_is_closed() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        reaper = Reaper()
        reaper.keep(sleeper.pid)
        reaper.close()

        assert sleeper.wait(BOUND) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            sleeper.kill()
        sleeper.wait()
