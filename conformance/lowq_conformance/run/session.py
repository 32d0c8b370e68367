"""The process that runs the tests: it forks a host for each socket it is given, and each host a pytest for each run.

It is a process of its own so that nobody's pytest settings, imports or crashes matter; the forks make hosts and
targets cheap, because pytest and Hypothesis are imported once. A host is told of a run, and then which lot of its
tests comes next; each line that it answers is one event as JSON. What tests print goes to standard error.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import hypothesis  # imported once, before the forks
import hypothesis.stateful  # noqa: F401
import pytest

import lowq_conformance.run.plugin as suite
from lowq_conformance.cases.fixtures import fork_server_key, loaded_key, progress_key
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.constants import CASES, NO_LOT, STACKS
from lowq_conformance.run.long_waits import tell_waits
from lowq_conformance.run.options import add_options, configure
from lowq_conformance.storm.fork_server import ForkServer, fork_fork_server
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.processes import kill_with_group
from lowq_conformance.support.readiness import find_readable
from lowq_conformance.support.sockets import take_over
from lowq_conformance.support.stacks import answer_to

ENDING = 5.0
"""Seconds within which killed processes must have ended."""
UNUSED = (
    "cacheprovider doctest faulthandler junitxml legacypath logging monkeypatch nose pastebin recwarn setuponly"
    " setupplan stepwise subtests threadexception unittest unraisableexception warnings"
)
"""Plugins of pytest's own that the suite does without, for the time they take."""


def main() -> None:
    """The arguments are a folder to write to and the numbers of the hosts' sockets.

    Each host says when it is ready, which takes far longer than a test. At the end of standard input, however that
    came about, no host is left and none of the processes that run tests.
    """
    folder, *numbers = sys.argv[1:]
    os.dup2(2, 1)
    import_tests(folder)
    gc.freeze()
    sockets = [take_over(int(number)) for number in numbers]
    for each in sockets:
        each.set_inheritable(False)
    hosts = [fork_host(own, sockets, number, folder) for number, own in enumerate(sockets)]
    for each in sockets:
        each.close()
    while os.read(0, 4096):
        pass
    for pid in hosts:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in hosts:
        os.waitpid(pid, 0)


def fork_host(own: socket.socket, sockets: list[socket.socket], number: int, folder: str) -> int:
    """The process id of a new host, which talks over its own socket."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        for each in sockets:
            if each is not own:
                each.close()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        HostProcess(Channel(own), Path(folder), number).serve()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


class HostProcess:
    """Runs what it is told of, one run after the other, each in a process of its own."""

    def __init__(self, talk: Channel, folder: Path, number: int) -> None:
        self._talk, self._folder, self._number = talk, folder, number
        self._child = self._lifeline = 0

    def serve(self) -> None:
        """Nobody asks for anything any more."""
        signal.signal(signal.SIGTERM, self._leave)
        tell(self._talk, ready=True)
        while (order := self._talk.next()) is not None:
            if "args" in order:  # else a lot for a process that died before it heard of it
                self._run(order["args"])

    def _run(self, args: list[str]) -> None:
        self._lifeline, held = os.pipe()  # it ends when the child has ended, and whatever was forked from there
        self._child = os.fork()
        if self._child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._lifeline)
            os.setpgid(0, 0)
            code = 70
            try:
                server = fork_fork_server(self._talk)  # while this process has no queue
                answer_to(self._folder / f"{STACKS}{self._number}")
                code = run([*options(self._folder, self._number), *args], self._talk, server)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(held)
        tell(self._talk, pid=self._child)
        status = os.waitpid(self._child, 0)[1]
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only ended ones are left
            os.killpg(self._child, signal.SIGKILL)  # agents that hang in a call, where it died by itself
        self._await_end()
        tell(self._talk, ended=os.waitstatus_to_exitcode(status))

    def _await_end(self) -> None:
        """Whoever was killed is gone, so that nobody writes any more to places that are removed."""
        find_readable([self._lifeline], ENDING)
        os.close(self._lifeline)
        self._child = 0

    def _leave(self, *_: object) -> NoReturn:
        if self._child:
            kill_with_group(self._child)
            self._await_end()
        os._exit(0)


def tell(talk: Channel, **event: object) -> None:
    """The runner was told; where that is gone there is nothing left to do."""
    if not talk.tell(event):
        os._exit(70)


def run(args: list[str], talk: Channel, server: ForkServer) -> int:
    """Pytest's exit code, whose events have been told; agents come from the server."""
    return int(pytest.main(args, plugins=[Options(), EventSender(talk, server)]))


def import_tests(folder: str) -> None:
    """The suite's tests are imported, their asserts rewritten, so that the forks find them so.

    Pytest leaves with 1 at best: where no test runs, no clause is kept.
    """
    asked = ["--collect-only", "--lowq-harness=memory", f"--lowq-journal={Path(folder) / 'journal'}"]
    if (code := pytest.main([*options(Path(folder), 0), *asked], plugins=[Options()])) > 1:
        sys.exit(f"the suite's tests cannot be imported: pytest left with {int(code)}")


def options(folder: Path, number: int) -> list[str]:
    """What makes pytest find the suite and nothing of the caller's."""
    return [
        "-c",
        str(folder / "pytest.ini"),
        f"--rootdir={folder}",
        f"--basetemp={folder / f'places{number}'}",
        "--noconftest",
        "--import-mode=importlib",
        *(f"-pno:{plugin}" for plugin in UNUSED.split()),
        "--tb=no",
        "-q",
        "--pyargs",
        CASES,
    ]


class Options:
    """Stands in for the installed plugin, which is not loaded here: only the suite's options are wanted."""

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        add_options(parser)

    def pytest_configure(self, config: pytest.Config) -> None:
        configure(config)


class EventSender:
    """Tells the runner what happens and asks it for the lots of tests to run, as a pytest plugin."""

    def __init__(self, talk: Channel, server: ForkServer) -> None:
        self._talk, self._server = talk, server

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[fork_server_key] = self._server
        config.stash[progress_key] = lambda said: tell(self._talk, progress=said)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """The lots that the runner asks for were run, until it asks for none."""
        if session.testsfailed:
            return None  # a test that cannot be imported; pytest says so
        run: Tally = session.config.stash[suite.run_key]
        lots: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            lots.setdefault(suite.lot(item), []).append(item)
        told = [
            (name, [item.nodeid for item in items], any(map(suite.is_seeded, items)), any(map(suite.waits, items)))
            for name, items in lots.items()
        ]
        known = {id: (fault.link, fault.sometimes) for id, fault in run.known.items()}
        hint = tell_waits(session.config.stash[loaded_key])
        tell(self._talk, planned=run.planned, lacks=run.lacks, known=known, lots=told, hint=hint)
        while not session.shouldstop:
            tell(self._talk, asks=True)
            order = self._talk.next()
            if order is None or order["lot"] is NO_LOT:
                break
            items = lots[order["lot"]]
            for item, following in zip(items, [*items[1:], session], strict=True):
                # After the last one comes the session itself: what was made for all of it is kept, and nothing else.
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldstop:
                    break
        return True

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        tell(self._talk, start=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        if suite.TROUBLE in told:
            tell(self._talk, broken_harness=told[suite.TROUBLE])
        elif suite.SIDES in told:
            tell(self._talk, test=report.nodeid, sides=told[suite.SIDES])
        if report.failed and not told.get(suite.SIDES) and suite.TROUBLE not in told:
            tell(self._talk, trouble=f"{report.nodeid}: {report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            tell(self._talk, trouble=f"{report.nodeid}: {report.longreprtext}")

    def pytest_internalerror(self, excrepr: object) -> None:
        tell(self._talk, trouble=str(excrepr))


if __name__ == "__main__":
    main()
