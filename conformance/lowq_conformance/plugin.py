"""The pytest plugin of the suite, registered where --lowq-harness is given: clauses, verdicts, and the table."""

from __future__ import annotations

from collections.abc import Generator
from random import SystemRandom
from typing import Any, NoReturn

import pytest
from rich.console import Console

from lowq_conformance import report as reports
from lowq_conformance.clauses import CLAUSES, UnknownClause, select
from lowq_conformance.client import Refused
from lowq_conformance.findings import NotObserved, NotPromised, broken_in
from lowq_conformance.fixtures import loaded_key, other, place, q, random, reopened, seed, seed_key, subject, used_key
from lowq_conformance.harness import load
from lowq_conformance.journal import Journal
from lowq_conformance.sides import Run, Side
from lowq_conformance.storms import storms
from lowq_conformance.verdict import Verdict
from lowq_conformance.words import BrokenHarness

__all__ = ["other", "place", "q", "random", "reopened", "seed", "storms", "subject"]

SEEDS = 2**32

run_key = pytest.StashKey[Run]()
said_key = pytest.StashKey[list[Side]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(id): the clause that this test checks")
    config.addinivalue_line("markers", "judges(*ids): the clauses that this test may find broken")
    config.addinivalue_line("markers", "needs(*promises): what this side of the clause takes beside the clause's own")
    promised = tuple(config.getoption("lowq_promise"))
    asked_seed = config.getoption("lowq_seed")
    try:
        selected = frozenset(select(config.getoption("lowq_only")))
        loaded = load(config.getoption("lowq_harness"), promised)
    except (BrokenHarness, UnknownClause) as error:
        raise pytest.UsageError(str(error)) from error
    loaded.journal = Journal(config.getoption("lowq_journal"))
    lacks = {id: clause.missing(loaded.promises, loaded.traits) for id, clause in CLAUSES.items()}
    run = Run(
        loaded.target,
        SystemRandom().randrange(SEEDS) if asked_seed is None else asked_seed,
        selected,
        promised,
        {id: lack for id, lack in lacks.items() if lack is not None},
    )
    config.stash[loaded_key] = loaded
    config.stash[seed_key] = run.seed
    config.stash[run_key] = run
    config.pluginmanager.register(Listener(run), "lowq-listener")


class Listener:
    """Hears what the tests said, also from pytest-xdist's workers."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, sides in report.user_properties:
            if name == "lowq":
                self.run.saw(report.nodeid, sides)  # type: ignore[arg-type]  # written by makereport below


def pytest_report_header(config: pytest.Config) -> str:
    run = config.stash[run_key]
    return f"lowq: checking {run.target} with --lowq-seed={run.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[run_key]
    chosen = [item for item in items if not (ids := marked(item)) or not run.selected.isdisjoint(ids)]
    chosen.sort(key=judges)  # what a clause's own test finds is shorter
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    run.planned = {item.nodeid: marked(item, "clause") for item in items}


def marked(item: pytest.Item, *kinds: str) -> tuple[str, ...]:
    """The clauses that a test is marked with: its own, those it judges, or both."""
    return tuple(
        id for mark in item.iter_markers() if mark.name in (kinds or ("clause", "judges")) for id in mark.args
    )


def judges(item: pytest.Item) -> bool:
    """Whether the test may find clauses broken that have tests of their own."""
    return item.get_closest_marker("judges") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    run, promises = item.config.stash[run_key], item.config.stash[loaded_key].promises
    asked = run.selected.intersection(marked(item))
    if judges(item) and asked <= run.broken().union(run.lacks):
        item.stash[said_key] = []
        pytest.skip("what it could find is broken already, or not promised")
    lacks = [run.lacks[id] for id in marked(item, "clause") if id in run.lacks]
    lacks += [
        need for mark in item.iter_markers("needs") for need in mark.args if promises.isdisjoint(need.split("|"))
    ]
    if lacks:
        _say(item, Verdict.NOT_PROMISED, f"needs {lacks[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        return (yield)
    except NotPromised as error:
        _say(pyfuncitem, Verdict.NOT_PROMISED, str(error))
    except NotObserved as error:
        _say(pyfuncitem, Verdict.NOT_OBSERVED, str(error))


def _say(item: pytest.Item, verdict: Verdict, why: str) -> NoReturn:
    item.stash[said_key] = [Side(id, verdict.value, why) for id in marked(item, "clause")]
    pytest.skip(f"{verdict}: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, BrokenHarness):
        pytest.exit(str(call.excinfo.value), returncode=2)
    if call.when == "call" or (call.when == "setup" and not report.passed):
        sides = said(item, call)
        report.user_properties.append(("lowq", [tuple(side) for side in sides]))  # xdist sends plain types only
        if report.failed and sides:
            report.longrepr = "\n\n".join(f"{id}: {verdict}\n\n{evidence}" for id, verdict, evidence, _ in sides)
    return report


def said(item: pytest.Item, call: pytest.CallInfo[None]) -> list[Side]:
    """What a test said of its clauses, by how it ended."""
    if said_key in item.stash:
        return item.stash[said_key]
    own = marked(item, "clause")
    if call.excinfo is None:
        return [Side(id, Verdict.KEPT.value, "") for id in own]
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        return [Side(id, Verdict.NOT_OBSERVED.value, str(error)) for id in own]
    used = item.stash.get(used_key, None)
    program = "" if used is None else used.journal.program()
    what = str(error) if isinstance(error, (Refused, AssertionError)) else f"{type(error).__name__}: {error}"
    fault = None
    if (broken := broken_in(error)) is not None:
        fault = None if broken.fault is None else broken.fault.as_json()
        own = own if broken.clause is None else (broken.clause,)
        program = broken.program or program
        what = "" if broken.shown else broken.said
    evidence = "\n\n".join(part for part in (program, what) if part)
    return [Side(id, Verdict.BROKEN.value, evidence, fault) for id in own]


def pytest_sessionfinish(session: pytest.Session) -> None:
    run = session.config.stash[run_key]
    if session.exitstatus == 0 and run.report().verdict == "incomplete":
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("lowq_journal"):
        return  # somebody else is told of the run
    terminalreporter.section("lowq")
    console = Console(file=terminalreporter._tw._file, highlight=False)
    reports.show([config.stash[run_key].report()], console)
