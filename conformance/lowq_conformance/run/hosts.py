"""Parent-side handles of the test processes forked by `session.py`: told what to run, heard, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowq_conformance.run.constants import INI, STACKS
from lowq_conformance.run.interrupt import Interruption
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.processes import kill_with_group
from lowq_conformance.support.readiness import find_readable
from lowq_conformance.support.sockets import make_pair
from lowq_conformance.support.stacks import Frame, ask

STARTING = 120.0
"""Seconds within which the interpreter must have imported the tests."""
ENDING = 10.0
"""Seconds within which a process that was told to end must have ended."""
HIDDEN = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DEBUG", "PYTEST_THEME", "PYTEST_XDIST_WORKER")


class SuiteFailed(Exception):
    """The suite itself went wrong, through no fault of the queue; the text is what it said."""


@dataclass(slots=True, eq=False)
class Host:
    """One process that runs tests; `child` is the one that runs those of the run at hand, and is killed alone."""

    talk: Channel
    journal: Path
    stacks: Path
    child: int = 0

    def fileno(self) -> int:
        """For select."""
        return self.talk.fileno()

    def tell(self, **order: Any) -> None:
        """The host was told; where it died, hearing it will tell."""
        self.talk.tell(order)

    def hear(self) -> list[dict[str, Any]] | None:
        """The events that have come, or None when the host is gone."""
        events = self.talk.hear()
        if events is None:
            return None
        for event in events:
            if "pid" in event:
                self.child = event["pid"]
            elif "ended" in event:
                self.child = 0
        return [event for event in events if "pid" not in event]

    def ask(self) -> list[Frame]:
        """Where the queue's code stands that the process is in which runs the tests; nothing where it is in none."""
        return ask(self.child, self.stacks) if self.child else []

    def kill(self) -> None:
        """The process that runs the tests was killed, with those that it started; that it ended will be heard."""
        if self.child:
            kill_with_group(self.child)


@dataclass(slots=True)
class Hosts:
    """As many hosts as there are to be, started when they are first needed; none is left at the end.

    Where there are several, there is one more that runs what mostly waits, while the others need the processor.
    """

    folder: Path
    jobs: int
    interruption: Interruption
    hosts: list[Host] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def number(self) -> int:
        """How many there are."""
        return self.jobs + (self.jobs > 1)

    def __enter__(self) -> Hosts:
        (self.folder / "pytest.ini").write_text(INI)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self) -> list[Host]:
        """The hosts, each ready for a run; none where the run was interrupted meanwhile. Raises SuiteFailed."""
        if not self.hosts:
            self._start()
        return self.hosts

    def read_log(self) -> str:
        """What they wrote to standard error."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def read_end_of_log(self) -> str:
        """The end of it, for the words of an error."""
        return self.read_log()[-4000:]

    def stop(self) -> None:
        """No host is left, and nothing that one of them ran."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()  # at which it ends them all
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            for host in self.hosts:
                host.kill()
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for host in self.hosts:
            host.talk.close()
        self.process, self.hosts = None, []

    def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        pairs = [make_pair() for _ in range(self.number)]
        theirs = [its.fileno() for _, its in pairs]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lowq_conformance.run.session", str(self.folder), *map(str, theirs)],
                pass_fds=theirs,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        for _, its in pairs:
            its.close()
        self.hosts = [
            Host(Channel(mine), self.folder / f"journal{number}", self.folder / f"{STACKS}{number}")
            for number, (mine, _) in enumerate(pairs)
        ]
        for host in self.hosts:
            watched: list[Any] = [host, self.interruption]
            found = find_readable(watched, STARTING)
            if self.interruption.seen:
                self.stop()
                return
            if not found or host.hear() is None:
                raise SuiteFailed(f"the process that runs the tests did not start:\n{self.read_end_of_log()}")
