"""The pytest plugin of the suite, registered where --lowq-harness is given: clauses, verdicts, and the table."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from importlib import import_module
from pathlib import Path
from random import SystemRandom
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol  # what pytest-rerunfailures uses, too; nothing public does it
from rich.console import Console

from lowq_conformance.cases.fixtures import (
    agents,
    asked_key,
    loaded_key,
    other,
    place,
    places,
    profile,
    profile_key,
    q,
    random,
    reopened,
    schedule_key,
    scout,
    seed,
    seed_key,
    storms,
    subject,
    sweeps,
    used_key,
)
from lowq_conformance.contract.clauses import CLAUSES, UnknownClause, select
from lowq_conformance.contract.known import Fault, read_options
from lowq_conformance.contract.outcomes import NotObserved, NotPromised, Refused, find_broken
from lowq_conformance.contract.profile import PROFILES
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.tally import Tally, TestVerdict
from lowq_conformance.run.constants import CASES
from lowq_conformance.run.long_waits import tell_waits
from lowq_conformance.run.output_file import Unwritable
from lowq_conformance.run.outputs import Outputs
from lowq_conformance.run.own_fault import own_fault
from lowq_conformance.storm.storms import Storms, name_of_run
from lowq_conformance.subject.loading import load
from lowq_conformance.subject.program import Journal
from lowq_conformance.sweep.schedule import BadSchedule, parse
from lowq_conformance.sweep.sweeps import Sweeps

__all__ = [
    "agents",
    "other",
    "place",
    "places",
    "profile",
    "q",
    "random",
    "reopened",
    "scout",
    "seed",
    "storms",
    "subject",
    "sweeps",
]

SEEDS = 2**32
SIDES, TROUBLE = "lowq", "lowq_trouble"
"""Under which names a test's report carries what it said, and what is wrong with the harness."""
TRIES = 3
"""How often a test is made in which calls are given up."""
RANDOM = {"seed", "random", "storms"}
"""Fixtures that are not the same with every seed."""

run_key = pytest.StashKey[Tally]()
outputs_key = pytest.StashKey[Outputs]()
said_key = pytest.StashKey[list[TestVerdict]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(id): the clause that this test checks")
    config.addinivalue_line("markers", "judges(*ids): the clauses that this test may find broken")
    config.addinivalue_line("markers", "needs(*promises): what this side of the clause takes beside the clause's own")
    config.addinivalue_line("markers", "together(run): tests that look at one run, which is made once")
    config.addinivalue_line(
        "markers", "waits(long): the test takes time, or much of it, and hardly ever the processor"
    )
    promised = tuple(config.getoption("lowq_promise"))
    asked_seed, told = config.getoption("lowq_seed"), config.getoption("lowq_journal")
    try:
        selected = frozenset(select(config.getoption("lowq_only")))
        asked_schedule = config.getoption("lowq_schedule")
        schedule = None if asked_schedule is None else parse(asked_schedule)
        stated = read_options(config.getoption("lowq_known"), config.getoption("lowq_sometimes"))
        journal = open_journal(told, config)
        loaded = load(config.getoption("lowq_harness"), promised, told and os.path.dirname(os.path.abspath(told)))
        outputs = open_outputs(config)
    except (BrokenHarness, UnknownClause, BadSchedule, Unwritable) as error:
        raise pytest.UsageError(str(error)) from error
    loaded.journal = journal
    lacks = {id: clause.missing(loaded.promises, loaded.traits) for id, clause in CLAUSES.items()}
    run = Tally(
        loaded.target,
        SystemRandom().randrange(SEEDS) if asked_seed is None else asked_seed,
        selected,
        promised,
        {id: lack for id, lack in lacks.items() if lack is not None},
        stated,
        {**loaded.known, **stated},
        profile=PROFILES[config.getoption("lowq_profile")],
        schedule=asked_schedule or "",
    )
    config.stash[loaded_key] = loaded
    config.stash[seed_key] = run.seed
    config.stash[schedule_key] = schedule
    config.stash[asked_key] = run.selected
    config.stash[profile_key] = run.profile
    config.stash[run_key] = run
    config.stash[outputs_key] = outputs
    config.pluginmanager.register(Listener(run), "lowq-listener")
    if getattr(config.option, "dist", "no") == "load":  # what -n means without --dist
        distribute(config, run)


def open_outputs(config: pytest.Config) -> Outputs:
    """The files that are asked for, open till the end of the run. Raises Unwritable."""
    outputs = Outputs(junit=config.getoption("lowq_junit"), badge=config.getoption("lowq_badge"))
    if hasattr(config, "workerinput"):  # of xdist; its controller writes
        return Outputs()
    outputs.__enter__()
    config.add_cleanup(lambda: outputs.__exit__(None, None, None))
    return outputs


def open_journal(path: str | None, config: pytest.Config) -> Journal:
    """Where the calls of the running test are kept: in the file, where one is told. Raises Unwritable."""
    try:
        return Journal(path, open_alarm(config))
    except OSError as error:
        raise Unwritable(f"{path} cannot be written: {error.strerror}") from error


def open_alarm(config: pytest.Config) -> int | None:
    """Standard error as it is while pytest captures nothing, where nobody else watches over this process."""
    if config.getoption("lowq_journal") or float(config.getini("faulthandler_timeout") or 0):
        return None
    alarm = os.dup(2)
    config.add_cleanup(lambda: os.close(alarm))
    return alarm


def distribute(config: pytest.Config, run: Tally) -> None:
    """The workers of pytest-xdist all have this seed, and tests that look at one run go to one of them."""
    config.option.lowq_seed = run.seed
    config.option.dist = "loadgroup"
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the long ones come first already


class Listener:
    """Hears what the tests said, also from pytest-xdist's workers."""

    def __init__(self, run: Tally) -> None:
        self.run = run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told: dict[str, Any] = dict(report.user_properties)
        if TROUBLE in told:
            self.run.trouble = self.run.trouble or told[TROUBLE]
        elif SIDES in told:
            self.run.saw(report.nodeid, told[SIDES], seconds=report.duration)
        elif report.failed and report.nodeid in self.run.planned:  # by xdist, of a worker that died of the test
            ids = self.run.planned[report.nodeid]
            self.run.saw(report.nodeid, [TestVerdict(id, Verdict.BROKEN.value, str(report.longrepr)) for id in ids])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """What a worker of xdist has collected is known here, where nothing is collected."""
        self.run.planned.update({id: clauses_of(id) for id in ids})

    def pytest_keyboard_interrupt(self) -> None:
        """What was not seen was not because somebody interrupted."""
        self.run.interrupted = not self.run.trouble


def clauses_of(nodeid: str) -> tuple[str, ...]:
    """The clauses with which the test of that id is marked."""
    file, _, rest = nodeid.partition("::")
    module = import_module(f"{CASES}.{Path(file).stem}")
    marks = getattr(getattr(module, rest.partition("[")[0].partition("@")[0]), "pytestmark", [])
    return tuple(id for mark in marks if mark.name == "clause" for id in mark.args)


def pytest_report_header(config: pytest.Config) -> list[str]:
    run, waits = config.stash[run_key], tell_waits(config.stash[loaded_key])
    return [f"lowq: checking {run.target} with --lowq-seed={run.seed}", *([f"lowq: {waits}"] if waits else [])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[run_key]
    chosen = [item for item in items if not (ids := find_marks(item)) or not run.selected.isdisjoint(ids)]
    left_out = {*config.getoption("lowq_but")}
    chosen = [item for item in chosen if item.nodeid not in left_out]
    if config.stash[schedule_key] is not None:
        chosen = [item for item in chosen if "sweeps" in getattr(item, "fixturenames", ())]
    if hasattr(config, "workerinput"):  # of xdist
        chosen.sort(key=lambda item: not is_seeded(item))
        for item in chosen:
            item.add_marker(pytest.mark.xdist_group(lot(item)))
    else:
        # What a clause's own test finds is shorter; what waits long must not be what all wait for at the end.
        chosen.sort(key=lambda item: (judges(item), not waits_long(item)))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    run.planned = {item.nodeid: find_marks(item, "clause") for item in items}


def find_marks(item: pytest.Item, *kinds: str) -> tuple[str, ...]:
    """The clauses that a test is marked with: its own, those it judges, or both."""
    return tuple(
        id for mark in item.iter_markers() if mark.name in (kinds or ("clause", "judges")) for id in mark.args
    )


def is_seeded(item: pytest.Item) -> bool:
    """Whether what the test does depends on the seed. Such tests are the long ones."""
    return not RANDOM.isdisjoint(getattr(item, "fixturenames", ()))


def lot(item: pytest.Item) -> str:
    """The name of the tests that one process should run, because they look at one run or because they are short."""
    runs = [run for mark in item.iter_markers("together") for run in mark.args]
    if runs:
        return name_of_run(" ".join(runs), item.config.stash[loaded_key].promises)
    if waits(item):
        return f"{item.path.stem} {item.name}"
    return item.name if is_seeded(item) else item.path.stem


def waits(item: pytest.Item) -> bool:
    """Whether the test mostly waits."""
    return item.get_closest_marker("waits") is not None


def waits_long(item: pytest.Item) -> bool:
    """Whether the test waits longer than the others of its kind."""
    return any(mark.kwargs.get("long") for mark in item.iter_markers("waits"))


def judges(item: pytest.Item) -> bool:
    """Whether the test may find clauses broken that have tests of their own."""
    return item.get_closest_marker("judges") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    run, promises = item.config.stash[run_key], item.config.stash[loaded_key].promises
    asked = run.selected.intersection(find_marks(item))
    if judges(item) and asked <= run.find_broken().union(run.lacks):
        item.stash[said_key] = []
        pytest.skip("what it could find is broken already, or not promised")
    lacks = [run.lacks[id] for id in find_marks(item, "clause") if id in run.lacks]
    lacks += [
        need for mark in item.iter_markers("needs") for need in mark.args if promises.isdisjoint(need.split("|"))
    ]
    if lacks:
        _say(item, Verdict.NOT_PROMISED, f"needs {lacks[0]}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """A test that came to no good end, in which a call was given up because its patience was over, is made again: a
    slow machine explains it once, and a fault of the queue's shows again."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(TRIES)):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        used = item.stash.get(used_key, None)
        if not left or used is None or not used.gave_up or all(report.passed for report in reports):
            break
        del item.stash[used_key]
        if said_key in item.stash:
            del item.stash[said_key]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        return (yield)
    except NotPromised as error:
        _say(pyfuncitem, Verdict.NOT_PROMISED, str(error))
    except NotObserved as error:
        _say(pyfuncitem, Verdict.NOT_OBSERVED, str(error))
    except Refused as refusal:
        if refusal.stated:
            _say(pyfuncitem, Verdict.NOT_PROMISED, refusal.stated)
        raise


def _say(item: pytest.Item, verdict: Verdict, why: str) -> NoReturn:
    item.stash[said_key] = [TestVerdict(id, verdict.value, why) for id in find_marks(item, "clause")]
    pytest.skip(f"{verdict}: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, BrokenHarness):
        report.user_properties.append((TROUBLE, str(call.excinfo.value)))
        report.longrepr = str(call.excinfo.value)
        item.session.shouldstop = "the harness is broken"
        return report
    if call.when == "call" or (call.when == "setup" and not report.passed):
        sides = read_outcome(item, call)
        report.user_properties.append((SIDES, [tuple(side) for side in sides]))  # xdist sends plain types only
        if report.failed and sides:
            report.longrepr = "\n\n".join(f"{side.clause}: {side.verdict}\n\n{side.evidence}" for side in sides)
            excuse(report, sides, item.config.stash[run_key].known)
    return report


def excuse(report: pytest.TestReport, sides: list[TestVerdict], known: Mapping[str, Fault]) -> None:
    """A test that broke nothing but what is known to be broken is told as one that is expected to fail."""
    broken = [side.clause for side in sides if side.verdict == Verdict.BROKEN]
    if broken and all(id in known for id in broken):
        report.outcome = "skipped"
        report.wasxfail = "reason: " + "; ".join(f"{id} {known[id]}" for id in broken)


def read_outcome(item: pytest.Item, call: pytest.CallInfo[None]) -> list[TestVerdict]:
    """What a test said of its clauses, by how it ended."""
    if said_key in item.stash:
        return item.stash[said_key]
    own = find_marks(item, "clause")
    if call.excinfo is None:
        made = getattr(item, "funcargs", {}).get("storms")
        storm = made.latest if isinstance(made, Storms) else None
        swept = getattr(item, "funcargs", {}).get("sweeps")
        behind = swept.effort if isinstance(swept, Sweeps) else None if storm is None else storm.effort
        effort = None if behind is None else behind.as_json()
        return [TestVerdict(id, Verdict.KEPT.value, "", None, effort) for id in own]
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        return [TestVerdict(id, Verdict.NOT_OBSERVED.value, str(error)) for id in own]
    used = item.stash.get(used_key, None)
    program = "" if used is None else used.journal.program()
    what = str(error) if isinstance(error, (Refused, AssertionError)) else f"{type(error).__name__}: {error}"
    fault, schedule = None, ""
    if (where := own_fault(error)) is not None:
        why = f"the suite itself failed, {where}: {what}"
        return [TestVerdict(id, Verdict.NOT_OBSERVED.value, why) for id in own]
    if (broken := find_broken(error)) is not None:
        fault = None if broken.fault is None else broken.fault.as_json()
        own = own if broken.clause is None else (broken.clause,)
        program = broken.program or program
        what = "" if broken.shown else broken.said
        schedule = broken.schedule
    if not own:  # a test that judges came to an end before it could: what the queue raised is no work that went in
        own = ("DELIVER-1",)
    evidence = "\n\n".join(part for part in (program, what) if part)
    return [TestVerdict(id, Verdict.BROKEN.value, evidence, fault, None, schedule) for id in own]


def pytest_sessionfinish(session: pytest.Session) -> None:
    run = session.config.stash[run_key]
    if hasattr(session.config, "workerinput"):
        return  # of xdist; its controller knows the whole
    if run.trouble:
        session.exitstatus = 2
    elif session.exitstatus == 0 and run.report().exit_code:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("lowq_journal") or config.option.collectonly:
        return  # somebody else is told of the run, or there is none
    terminalreporter.section("lowq")
    console = Console(file=terminalreporter._tw._file, highlight=False)
    hide = config.getoption("lowq_hide_not_promised")
    config.stash[outputs_key].write_reports([config.stash[run_key].report()], console, "", hide_not_promised=hide)
