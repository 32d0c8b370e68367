"""The entry point of the plugin: it imports pytest and the standard library only, and the rest when it is asked for.

Fixtures for the tests of an application whose work goes through lowq; none is autouse, and their state is in
`tmp_path`. What they are stands in `pytest_lowq.fixtures`, what can be set in `pytest_lowq.settings`. Every start of
pytest pays for what is in this file, whoever uses it.
PYTEST_DONT_REWRITE: there is no assert here, and a start of pytest is not to wait for it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from lowq import Backend, Clock, FakeClock
    from lowq.testing import Inline, Jobs, LiveWorker, SyncWorker, TempQueue

_FIXTURES = "pytest_lowq.fixtures"
"""Imported by the first fixture that is used, and by nothing else."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options and ini values, and those of the conformance suite, are known."""
    option = parser.getgroup("lowq", "lowq: tests of an application with a queue").addoption
    ini = parser.addini
    for name, metavar, text in (
        (
            "mode",
            "MODE",
            "manual (default), inline or live: whether a push runs its task at once, or start() a worker.",
        ),
        ("leftovers", "WHAT", "allow (default) or fail: a task that was neither run nor asserted."),
        ("lossy", "WHAT", "warn (default) or strict: a work that JSON changes, in inline mode."),
        ("clock-patch", "HOW", "freezegun (default), time-machine or none: how the application reads lowq_clock."),
        ("now", "TIME", "Where lowq_clock begins, such as 2030-01-01T12:00:00Z."),
        ("max-runs", "N", "After so many runs a drain is taken for endless (default 1000)."),
    ):
        ini(f"lowq_{name.replace('-', '_')}", text)
        option(f"--lowq-{name}", metavar=metavar, help=text)
    option("--lowq-twice", action="store_true", help="Deliver every task that is done once more.")
    option("--lowq-shuffle", action="store_true", help="Let the queues take turns in a random order.")
    option("--lowq-keep-db", action="store_true", help="Say in each failed report where its queues are kept.")
    import_module("lowq_conformance.run.options").add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """The marker is known, and what was set can be; what only some runs need is registered where it is needed."""
    config.addinivalue_line(
        "markers",
        "lowq(mode=, now=, on_error=, leftovers=, lossy=, clock_patch=, max_runs=): how lowq's fixtures behave in "
        "this test; the closest marker wins",
    )
    for name in ("mode", "leftovers", "lossy", "clock_patch", "now", "max_runs"):
        if config.getoption(f"lowq_{name}") is not None or config.getini(f"lowq_{name}"):
            _settings().check(config)
            break
    if config.getoption("dist", "no") != "no" or hasattr(config, "workerinput"):
        config.pluginmanager.register(import_module("pytest_lowq.distributed"), "lowq-distributed")
    if config.option.lowq_shuffle:
        _settings().draw_seed(config)
    import_module("lowq_conformance.run.options").configure(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """A line where the command line changes how tasks are run, so that a failure can be repeated."""
    return [f"lowq: {_settings().repeat(config)}"] if config.option.lowq_twice or config.option.lowq_shuffle else []


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """A line where tests use the plugin, with how they do unless a marker says otherwise."""
    if not any(name.startswith("lowq_") for item in items for name in getattr(item, "fixturenames", ())):
        return []
    settings = _settings()
    return [settings.use(config, settings.users(items))] if config.option.verbose >= 0 else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that passed fails where tasks were left over that should not be."""
    answer = yield
    if (fixtures := sys.modules.get(_FIXTURES)) is not None:
        fixtures.check_leftovers(item)
    return answer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report of a test that failed, or whose set-up did, shows the tasks in its queues."""
    report = yield
    if report.failed and report.when != "teardown" and (fixtures := sys.modules.get(_FIXTURES)) is not None:
        fixtures.show_tasks(item, report)
    return report


@pytest.fixture
def lowq_backend() -> Callable[[Path, Clock], Backend] | None:
    """Override it to make another kind of queue than SQLite's: `(path, clock) -> Backend`."""
    return None


@pytest.fixture
def lowq_clock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeClock]:
    """Time stands still, for lowq and for the application's code, until the test moves it."""
    with _fixtures().clock(request, tmp_path) as clock:
        yield clock


@pytest.fixture
def lowq_queue(
    request: pytest.FixtureRequest, tmp_path: Path, lowq_backend: Callable[[Path, Clock], Backend] | None
) -> Iterator[TempQueue]:
    """Every queue of the application is a fresh one under `tmp_path`; `start()` starts nothing."""
    with _fixtures().queue(request, tmp_path, lowq_backend) as queue:
        yield queue


@pytest.fixture
def lowq_jobs(
    request: pytest.FixtureRequest,
    lowq_queue: TempQueue,  # noqa: ARG001 (asked for its effect)
) -> Jobs:
    """Assertions about what was pushed."""
    jobs: Jobs = _fixtures().jobs(request.node)
    return jobs


@pytest.fixture
def lowq_worker(
    request: pytest.FixtureRequest,
    lowq_queue: TempQueue,  # noqa: ARG001 (asked for its effect)
) -> SyncWorker:
    """Runs tasks when the test says so."""
    worker: SyncWorker = _fixtures().worker(request.node)
    return worker


@pytest.fixture
def lowq_inline(
    request: pytest.FixtureRequest,
    lowq_queue: TempQueue,  # noqa: ARG001 (asked for its effect)
) -> Iterator[Inline]:
    """What is pushed runs before the push returns."""
    with _fixtures().inline_mode(request.node) as mode:
        yield mode


@pytest.fixture
def lowq_live_worker(lowq_queue: TempQueue) -> Iterator[Callable[..., LiveWorker]]:
    """Starts real workers, `lowq_live_worker(queue)`, each a process of its own; none is left afterwards."""
    with _fixtures().live_workers(lowq_queue) as start:
        yield start


def _fixtures() -> Any:
    return import_module(_FIXTURES)


def _settings() -> Any:
    return import_module("pytest_lowq.settings")
