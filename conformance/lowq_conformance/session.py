"""The process that runs the tests: told of targets on its standard input, it forks a pytest for each and tells of it.

It is a process of its own so that nobody's pytest settings, imports or crashes matter; the forks make several targets
cheap, because pytest and Hypothesis are imported once. Each line of its standard output is one event as JSON; what
tests print goes to its standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

import hypothesis  # imported once, before the forks
import hypothesis.stateful  # noqa: F401
import pytest

import lowq_conformance.plugin as suite
from lowq_conformance.sides import Run
from pytest_lowq.suite import add_options, configure

UNUSED = (
    "cacheprovider doctest faulthandler junitxml legacypath logging monkeypatch nose pastebin recwarn setuponly"
    " setupplan stepwise subtests threadexception unittest unraisableexception warnings"
)
"""Plugins of pytest's own that the suite does without, for the time they take."""

INI = """[pytest]
addopts = --strict-markers
python_files = test_*.py
tmp_path_retention_policy = failed
"""


def main() -> None:
    """Each line of standard input is a request: an object with `args` for pytest and `folder`, a place to write.

    The argument is such a folder too. Says when it is ready, which takes far longer than a test.
    """
    events = os.dup(1)
    os.set_inheritable(events, True)
    os.dup2(2, 1)
    import_tests(sys.argv[1])
    gc.freeze()
    Teller(events).tell(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            code = 70
            try:
                code = run(request, Teller(events))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        Teller(events).tell(pid=child)
        status = os.waitpid(child, 0)[1]
        Teller(events).tell(ended=os.waitstatus_to_exitcode(status))


def import_tests(folder: str) -> None:
    """The suite's tests are imported, their asserts rewritten, so that the forks find them so."""
    pytest.main([*options(folder), "--collect-only", "--lowq-harness=memory"], plugins=[Options()])


def run(request: dict[str, Any], teller: Teller) -> int:
    """Pytest's exit code for the request, whose events have been told."""
    return int(pytest.main([*options(request["folder"]), *request["args"]], plugins=[Options(), teller]))


def options(folder: str) -> list[str]:
    """What makes pytest find the suite and nothing of the caller's."""
    return [
        "-c",
        os.path.join(folder, "pytest.ini"),
        f"--rootdir={folder}",
        f"--basetemp={os.path.join(folder, 'places')}",
        "--noconftest",
        "--import-mode=importlib",
        *(f"-pno:{plugin}" for plugin in UNUSED.split()),
        "--tb=no",
        "-q",
        "--pyargs",
        "lowq_conformance",
    ]


class Options:
    """Stands in for the installed plugin, which is not loaded here: only the suite's options are wanted."""

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        add_options(parser)

    def pytest_configure(self, config: pytest.Config) -> None:
        configure(config)


class Teller:
    """Tells the runner what happens, as a pytest plugin."""

    def __init__(self, events: int) -> None:
        self._events = events

    def tell(self, **event: object) -> None:
        """The event is written; when nobody listens any more, there is nothing left to do."""
        try:
            os.write(self._events, json.dumps(event).encode() + b"\n")
        except BrokenPipeError:
            os._exit(70)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        run: Run = session.config.stash[suite.run_key]
        self.tell(planned=run.planned, lacks=run.lacks)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(start=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, sides in report.user_properties:
            if name == "lowq":
                self.tell(test=report.nodeid, sides=sides)
        if report.failed and not any(name == "lowq" and sides for name, sides in report.user_properties):
            self.tell(trouble=f"{report.nodeid}: {report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tell(trouble=f"{report.nodeid}: {report.longreprtext}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.tell(trouble=str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if isinstance(excinfo.value, pytest.exit.Exception):
            self.tell(broken_harness=str(excinfo.value.msg))


if __name__ == "__main__":
    main()
