"""Shares out the tests of one run among host processes, a lot at a time; survives whatever tests do to their process.

Tests that look at one and the same thing that was made for them are one lot, so that it is made once.
"""

from __future__ import annotations

import re
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from lowq_conformance.contract.known import Fault, spell
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.tally import Tally, TestVerdict
from lowq_conformance.run.constants import NO_LOT
from lowq_conformance.run.hangs import Halt, is_slow, look_at
from lowq_conformance.run.hosts import ENDING, Host, Hosts, SuiteFailed
from lowq_conformance.subject.program import SILENT, read
from lowq_conformance.support.readiness import find_readable

Watch = Callable[[Tally, str], None]
LOADING = 120.0
"""Seconds within which a target must be loaded."""
AGAIN = 1.0
"""Seconds between two looks at a host that says nothing."""


@dataclass(slots=True, eq=False)
class Share:
    """What one host does: its lot, the test that runs, since when and until when it may, and why it was killed, if it
    was; `slow`: because of many slow calls, not of one.

    It was `heard` last at that instant of `time.monotonic()`; `halt` is where it stands still since.
    `resumes`: the lot is to be gone on with by a new process, which has these `lots`. One that `waits` is given only
    what mostly waits.
    """

    host: Host
    waits: bool = False
    end: float = inf
    lot: str | None = None
    resumes: bool = False
    lots: frozenset[str] = frozenset()
    test: str = ""
    began: float = 0.0
    killed: str = ""
    slow: bool = False
    over: bool = False
    heard: float = inf
    halt: Halt = field(default_factory=Halt)


@dataclass(slots=True)
class Scheduler:
    """One run with one seed. `ends` is the `time.monotonic()` at which the budget is used up; `again`: the run was
    made with another seed before, so that only what depends on the seed is looked at. `until_broken`: no lot is begun
    when all that is selected is broken."""

    hosts: Hosts
    run: Tally
    seed: int
    bound: float
    watch: Watch | None = None
    ends: float = inf
    again: bool = False
    until_broken: bool = False
    shares: list[Share] = field(default_factory=list)
    lots: deque[str] | None = None
    waiting: deque[str] = field(default_factory=deque)
    """The lots that mostly wait, where there is somebody apart for them."""
    tests: int = 0
    stopping: bool = False

    def carry_out(self) -> bool:
        """Whether the tests came to an end, rather than the budget or the patience of whoever interrupted.

        Raises BrokenHarness and SuiteFailed; tests may be running then, and end with `stop`.
        """
        self._begin_with(self.hosts.ready()[:2])  # what they have to do says who else is needed
        self._listen()
        return not self.stopping and not self.hosts.interruption.seen

    def _begin_with(self, hosts: Sequence[Host], *, waits: bool = False) -> None:
        """The hosts, too, take lots."""
        for host in hosts:
            self.shares.append(Share(host, waits))
            self._begin(self.shares[-1])

    def stop(self) -> None:
        """No test runs any more."""
        self._stop()
        self._listen()

    def _listen(self) -> None:
        """All is over."""
        while running := [share for share in self.shares if not share.over]:
            ends = [min(share.end, share.heard + SILENT) for share in running]
            watched: list[Any] = [share.host for share in running]
            if not self.stopping:
                ends.append(self.ends)
                watched.append(self.hosts.interruption)
            timeout = min(ends) - time.monotonic()
            found = find_readable(watched, timeout)
            if not self.stopping and (self.hosts.interruption.seen or time.monotonic() >= self.ends):
                self._stop()
            for share in running:
                if share.host in found:
                    self._hear(share)
                elif time.monotonic() >= share.end:
                    self._late(share)
                elif time.monotonic() >= share.heard + SILENT:
                    self._look(share)

    def _look(self, share: Share) -> None:
        """Where a host that says nothing stands in a call of the queue's, that has been told."""
        share.heard = time.monotonic() - SILENT + AGAIN
        if share.halt.told or share.killed or self.stopping:
            return
        share.halt = look_at(share.host, loading=not share.lots)
        if share.halt.told and self.watch is not None:
            self.run.hint = f"{self.run.target}: {share.halt.told}"
            self.watch(self.run, self.run.doing or share.test)

    def _stop(self) -> None:
        """Every test was told to end where it is."""
        self.stopping = True
        for share in self.shares:
            share.end = time.monotonic() + ENDING
            share.host.kill()

    def _late(self, share: Share) -> None:
        if share.killed or self.stopping:
            raise SuiteFailed(f"a process that was killed did not end:\n{self.hosts.read_end_of_log()}")
        within = self.bound if share.lots else LOADING
        share.killed = f"did not return within {within:g} seconds"
        if share.halt.told:
            share.killed += f"; {share.halt.told}"
        if not share.test and not share.lots:
            raise BrokenHarness(f"{self.run.target}: loading it {share.killed}")
        if not share.test:
            raise SuiteFailed(f"between two tests, it {share.killed}:\n{self.hosts.read_end_of_log()}")
        share.slow = is_slow(share.host, within)
        share.end = time.monotonic() + ENDING
        share.host.kill()

    def _begin(self, share: Share) -> None:
        """The host was told of the run: of the tests that have not said anything yet."""
        run = self.run
        share.test, share.killed, share.slow, share.end = "", "", False, time.monotonic() + LOADING
        share.heard, share.halt, share.lots = time.monotonic(), Halt(), frozenset()
        args = [f"--lowq-harness={run.target}", f"--lowq-seed={self.seed}", f"--lowq-journal={share.host.journal}"]
        args += [f"--lowq-only={','.join(sorted(run.selected))}", f"--lowq-profile={run.profile.name}"]
        args += [f"--lowq-promise={promise}" for promise in run.promised]
        args += [f"--lowq-{word}={said}" for word, said in spell(run.stated)]
        args += [f"--lowq-schedule={run.schedule}"] if run.schedule else []
        args += [f"--lowq-but={test}" for test in run.tests(self.seed)]
        share.host.tell(args=args)

    def _hear(self, share: Share) -> None:
        events = share.host.hear()
        if events is None:
            raise SuiteFailed(f"the process that runs the tests died:\n{self.hosts.read_end_of_log()}")
        if self.stopping:
            share.host.kill()  # its process may have begun meanwhile
        failure: BrokenHarness | SuiteFailed | None = None
        for event in events:
            try:
                self._take(share, event)
            except (BrokenHarness, SuiteFailed) as error:
                failure = error
                self.stopping = True  # what came with it is taken, too: that the host has ended is told once
            if self.watch is not None and not self.stopping:
                self.watch(self.run, self.run.doing or share.test)
        if failure is not None:
            raise failure

    def _take(self, share: Share, event: dict[str, Any]) -> None:
        """The event was taken note of."""
        if not self.stopping and not share.killed:
            share.heard, share.end, share.halt = time.monotonic(), time.monotonic() + self.bound, Halt()
        if "ended" in event:
            self._end(share, event["ended"])
        elif "lots" in event:
            self._plan(share, event)
        elif "asks" in event:
            self._give(share)
        elif "start" in event:
            share.test, share.began, self.run.doing = event["start"], time.monotonic(), ""
        elif "progress" in event:
            self.run.doing = event["progress"]
        elif "sides" in event:
            self.run.saw(event["test"], event["sides"], self.seed, time.monotonic() - share.began)
            share.test = ""
        elif self.stopping:
            return
        elif "broken_harness" in event:
            raise BrokenHarness(event["broken_harness"])
        elif "trouble" in event:
            raise SuiteFailed(event["trouble"])

    def _plan(self, share: Share, event: dict[str, Any]) -> None:
        """The lots are known, the long ones first where several hosts share them."""
        share.lots = frozenset(name for name, *_ in event["lots"])
        if self.lots is not None:
            return
        run = self.run
        if not self.again:
            run.lacks, run.hint = event["lacks"], event["hint"]
            run.known = {id: Fault(*told) for id, told in event["known"].items()}
            run.planned = {test: tuple(ids) for test, ids in event["planned"].items()}
        lots = [lot for lot in event["lots"] if not self.again or self._worth(*lot)]
        self.tests = sum(len(tests) for _, tests, *_ in lots)
        run.expected += self.tests
        apart = self.hosts.jobs > 1
        if apart:
            lots.sort(key=lambda lot: not lot[2])
        self.lots = deque(name for name, _, _, waits in lots if not (waits and apart))
        self.waiting = deque(name for name, _, _, waits in lots if waits and apart)
        if apart and not self.stopping:
            *others, last = self.hosts.ready()[2:]
            self._begin_with(others[: max(0, len(self.lots) - 2)])
            self._begin_with([last] if self.waiting else [], waits=True)

    def _worth(self, _: str, tests: Sequence[str], seeded: bool, __: bool) -> bool:
        """Whether another seed may show something new: not of what does not depend on it, nor of what is broken."""
        broken = self.run.find_broken()
        planned = [self.run.planned.get(test, ()) for test in tests]
        return seeded and not all(ids and broken.issuperset(ids) for ids in planned)

    def _give(self, share: Share) -> None:
        """The host was told of the lot at which its process died, else of the next one, or that there is none."""
        assert self.lots is not None
        if self.until_broken and self.run.selected <= self.run.find_broken():
            share.resumes = False
            self.lots.clear()
            self.waiting.clear()
        if not (share.resumes and share.lot in share.lots):
            mine = self.waiting if share.waits else self.lots or self.waiting
            share.lot = mine.popleft() if mine and not self.stopping else NO_LOT
        share.resumes = False
        share.host.tell(lot=share.lot)

    def _end(self, share: Share, code: int) -> None:
        """The process that ran the tests has ended, because no lot was left or because a test ended it."""
        if self.stopping:
            share.over = True
        elif share.killed or share.test:
            how = f"died by {signal.Signals(-code).name}" if code < 0 else f"left by exit({code})"
            self._fell(share, share.killed or f"the Python process {how}")
        elif code in (0, 1, 5):
            share.over = True
        else:
            share.over = True
            errors = re.findall("ERROR: (.+)", self.hosts.read_log())
            if code == 4 and errors:
                raise BrokenHarness(errors[-1])
            raise SuiteFailed(f"pytest left with {code}:\n{self.hosts.read_end_of_log()}")

    def _fell(self, share: Share, how: str) -> None:
        """The test that ended its process has broken its clauses; of one that is only slow nothing is known."""
        ids = self.run.planned[share.test]
        if share.slow:
            sides = [TestVerdict(id, Verdict.NOT_OBSERVED.value, f"the test {how}, at slow calls") for id in ids]
            self._go_on(share, sides)
            return
        journal = share.host.journal
        program = read(str(journal)) if journal.exists() else ""
        evidence = f"{program}\n\n{how}" if program else how
        self._go_on(share, [TestVerdict(id, Verdict.BROKEN.value, evidence) for id in ids])

    def _go_on(self, share: Share, sides: list[TestVerdict]) -> None:
        """The test that ended its process has said this; the next ones run in another."""
        self.run.saw(share.test, sides, self.seed, time.monotonic() - share.began)
        share.resumes = True
        self._begin(share)
