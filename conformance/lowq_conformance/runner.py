"""Runs the suite over targets, each in a process of its own, and survives whatever the tests do to that process."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Any

from lowq_conformance import clauses
from lowq_conformance.journal import read
from lowq_conformance.report import Report
from lowq_conformance.session import INI
from lowq_conformance.sides import Run
from lowq_conformance.verdict import Verdict
from lowq_conformance.words import BrokenHarness

BOUND = 120.0
"""Seconds after which a test that has not ended is taken to hang."""


class SuiteFailed(Exception):
    """The suite itself went wrong, through no fault of the queue; the text is what it said."""


def run(
    targets: Sequence[str],
    *,
    only: Sequence[str] | Mapping[str, Sequence[str]] = (),
    seed: int | None = None,
    promises: Sequence[str] = (),
    watch: Callable[[Run, str], None] | None = None,
    bound: float = BOUND,
) -> list[Report]:
    """The report on each target. `only` are the clauses and groups to look at, of all targets or of each;
    `watch` is told of each event; `bound` are seconds for one test.

    Raises BrokenHarness or UnknownClause before anything is checked, and Interrupted with the reports so far.
    """
    selected = {
        target: frozenset(clauses.select(only[target] if isinstance(only, Mapping) else only)) for target in targets
    }
    chosen = SystemRandom().randrange(2**32) if seed is None else seed
    reports: list[Report] = []
    places = TemporaryDirectory(prefix="lowq-check-", dir=_quick_folder(), ignore_cleanup_errors=True)
    with places as folder, _Session(folder) as session:
        for target in targets:
            found = Run(target, chosen, selected[target], tuple(promises))
            try:
                session.check(found, watch, bound)
            except KeyboardInterrupt:
                found.interrupted = True
                raise Interrupted([*reports, found.report()]) from None
            reports.append(found.report())
    return reports


def _quick_folder() -> str | None:
    """Where places are made: in memory where Linux offers it and TMPDIR does not say otherwise.

    A kill loses nothing there that a disk would keep, and a queue that waits for the disk at each push is checked
    in a quarter of the time.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _ENOUGH else None


_MEMORY = "/dev/shm"
_ENOUGH = 256 * 2**20


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; `reports` are what was seen."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__()
        self.reports = reports


@dataclass(slots=True)
class _Session:
    """The process of `session.py`, started when it is first needed and again after it died."""

    folder: str
    process: subprocess.Popen[bytes] | None = None
    child: int = 0
    rest: bytes = b""
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = Path(self.folder, "log")
        Path(self.folder, "pytest.ini").write_text(INI)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self, run: Run, watch: Callable[[Run, str], None] | None, bound: float) -> None:
        """The run was filled with what the tests said; one that killed its process or hung has broken its clause."""
        journal = os.path.join(self.folder, "journal")
        while True:
            running = self._attempt(run, watch, bound, journal)
            if running is None:
                return
            test, how = running
            program = read(journal) if os.path.exists(journal) else ""
            evidence = f"{program}\n\n{how}" if program else how
            run.saw(test, [(id, Verdict.BROKEN.value, evidence) for id in run.planned[test]])

    def _attempt(
        self, run: Run, watch: Callable[[Run, str], None] | None, bound: float, journal: str
    ) -> tuple[str, str] | None:
        """Run the tests that have not said anything yet; the one at which it stopped, and how, or None."""
        self._send(run, journal)
        current = ""
        for event in self._events(bound):
            if event is None:
                self._kill_child()
                return self._stopped(current, f"did not return within {bound:g} seconds")
            if "planned" in event:
                run.lacks = event["lacks"]
                run.planned = {**{test: tuple(ids) for test, ids in event["planned"].items()}, **run.planned}
            elif "start" in event:
                current = event["start"]
            elif "sides" in event:
                run.saw(event["test"], event["sides"])
                current = ""
            elif "broken_harness" in event:
                raise BrokenHarness(event["broken_harness"])
            elif "trouble" in event:
                raise SuiteFailed(event["trouble"])
            elif "ended" in event:
                return self._ended(event["ended"], current)
            if watch is not None:
                watch(run, current)
        raise SuiteFailed(f"the process that runs the tests died:\n{self._said()}")

    def _ended(self, code: int, current: str) -> tuple[str, str] | None:
        if current:
            how = f"died by {signal.Signals(-code).name}" if code < 0 else f"left by exit({code})"
            return self._stopped(current, f"the Python process {how}")
        if code in (0, 1, 5):
            return None
        lines = [line for line in self._said().splitlines() if line.startswith("ERROR: ")]
        if code == 4 and lines:
            raise BrokenHarness(lines[-1].removeprefix("ERROR: "))
        raise SuiteFailed(f"pytest left with {code}:\n{self._said()}")

    def _stopped(self, current: str, how: str) -> tuple[str, str]:
        if not current:
            raise SuiteFailed(f"between two tests, it {how}:\n{self._said()}")
        return current, how

    def _send(self, run: Run, journal: str) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = self._started()
            self.rest = b""
            if next(self._events(BOUND), None) is None:
                raise SuiteFailed(f"the process that runs the tests did not start:\n{self._said()}")
        args = [f"--lowq-harness={run.target}", f"--lowq-seed={run.seed}", f"--lowq-journal={journal}"]
        args += [f"--lowq-only={','.join(sorted(run.selected))}"]
        args += [f"--lowq-promise={promise}" for promise in run.promised]
        args += [f"--deselect={test}" for test in run.sides]
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"args": args, "folder": self.folder}).encode() + b"\n")
        self.process.stdin.flush()

    def _started(self) -> subprocess.Popen[bytes]:
        hidden = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DEBUG", "PYTEST_THEME")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "lowq_conformance.session", self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _events(self, bound: float) -> Iterator[dict[str, Any] | None]:
        """What the process tells; None where it told nothing for longer than the bound."""
        assert self.process is not None
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                event = json.loads(line)
                if "pid" in event:
                    self.child = event["pid"]
                    continue
                if "ended" in event:
                    self.child = 0
                yield event
                if "ended" in event:
                    return
                continue
            if not select.select([pipe], [], [], bound)[0]:
                yield None
                return
            if not (chunk := os.read(pipe, 1 << 16)):
                return
            self.rest += chunk

    def _kill_child(self) -> None:
        """The test's process and those it started are dead, and its last events read away."""
        if self.child:
            with suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGKILL)
        for event in self._events(10):
            if event is None:
                self.stop()

    def stop(self) -> None:
        """No process of the session is left."""
        if self.process is None:
            return
        for group in (self.child, self.process.pid):
            if group:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        self.process.communicate()
        self.process, self.child, self.rest = None, 0, b""

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


__all__ = ["BOUND", "Interrupted", "SuiteFailed", "run"]
