"""What the plugin's fixtures are; imported by the first test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from lowq import Backend, Clock, FakeClock, SystemClock
from lowq.testing import Inline, Jobs, SyncWorker, TempQueue, fake_clock, inline, live, live_workers, temp_queue
from lowq.testing.clock import running_clock
from lowq.testing.inline import Lossy, OnError
from lowq.testing.queues import is_running, running_queue
from lowq.testing.table import clock_time, indent, line, queue_table
from pytest_lowq.settings import Settings, repeat, settings_of

if TYPE_CHECKING:
    from lowq.testing.clock import Patch

__all__ = [
    "begin_clock",
    "check_leftovers",
    "clock",
    "find_used",
    "forget",
    "in_its_mode",
    "inline_mode",
    "jobs",
    "live_workers",
    "mode_of",
    "queue",
    "show_tasks",
    "use",
    "worker",
]


@dataclass(frozen=True, slots=True)
class Used:
    """What a test has of lowq while it runs."""

    settings: Settings
    store: TempQueue
    jobs: Jobs
    worker: SyncWorker


_used = pytest.StashKey[Used]()


@contextmanager
def clock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeClock]:
    """The fake clock of a test, kept in its `tmp_path`."""
    settings = settings_of(request.node)
    if (used := request.node.stash.get(_used, None)) is not None:
        _fail_on_real_clock(used.store)
    with fake_clock(settings.now, path=tmp_path / "lowq-clock", patch=cast("Patch", settings.clock_patch)) as made:
        yield made


def begin_clock(request: pytest.FixtureRequest) -> None:
    """The fake clock of the test runs, if it has one or a marker says what time it is."""
    item = request.node
    if "lowq_clock" in item.fixturenames or settings_of(item).now is not None:
        request.getfixturevalue("lowq_clock")


@contextmanager
def queue(
    request: pytest.FixtureRequest, tmp_path: Path, backend: Callable[[Path, Clock], Backend] | None
) -> Iterator[TempQueue]:
    """The queues of a test, kept in its `tmp_path`; on lowq_clock where the test has it, or is told the time."""
    item = request.node
    settings = settings_of(item)
    folder = tmp_path / "lowq"
    folder.mkdir()
    with temp_queue(folder, backend=backend) as store:
        made = item.stash[_used] = use(settings, store)
        try:
            with mode_of(made):
                yield store
        finally:
            forget(item)


def use(settings: Settings, store: TempQueue) -> Used:
    """What a test with these settings has of this store."""
    worker = SyncWorker(
        store, random=settings.random, max_runs=settings.max_runs, twice=settings.twice, shuffle=settings.shuffle
    )
    return Used(settings, store, Jobs(store), worker)


def find_used(item: pytest.Item, given: object) -> Used:
    """What the test has of the store that its fixture `lowq_queue` gave, which may be the user's own fixture.

    One that gave nothing means the store that runs. Anything else than a TempQueue fails the test.
    """
    __tracebackhide__ = True
    found = item.stash.get(_used, None)
    store = (found.store if found is not None else running_queue()) if given is None else given
    if not isinstance(store, TempQueue):
        pytest.fail(
            f"lowq_queue, as it is overridden for this test, gave {store!r}, and a lowq.testing.TempQueue was "
            "expected: return what the fixture it overrides gave, or what temp_queue() gives",
            pytrace=False,
        )
    if not is_running(store):
        pytest.fail(
            "lowq_queue, as it is overridden for this test, gave a TempQueue that nobody entered, or that is closed: "
            "the fixture yields it inside of `with temp_queue() as queue:`",
            pytrace=False,
        )
    settings = settings_of(item)
    wants_time = settings.now is not None or isinstance(running_clock(), FakeClock)
    if wants_time and isinstance(store.clock, SystemClock):
        _fail_on_real_clock(store)
    if found is None or found.store is not store:
        found = item.stash[_used] = use(settings, store)
    return found


def _fail_on_real_clock(store: TempQueue) -> NoReturn:
    """The test fails: the time that it says is not its queues' time."""
    __tracebackhide__ = True
    pytest.fail(
        f"lowq_clock: the queues of this test run on the real clock, since lowq_queue, at {store.folder}, was made "
        "before lowq_clock began: name lowq_clock in the arguments of the test, or of the fixture that makes the "
        "queues. One of wider scope than a test brings a clock of its own: temp_queue(clock=lowq.FakeClock(…)), "
        "without lowq_clock",
        pytrace=False,
    )


def jobs(item: pytest.Item, given: object) -> Jobs:
    """The assertions of a test."""
    return find_used(item, given).jobs


def worker(item: pytest.Item, given: object) -> SyncWorker:
    """The worker of a test."""
    return find_used(item, given).worker


def inline_mode(item: pytest.Item, given: object) -> AbstractContextManager[Inline]:
    """Inline mode, as the test's settings say."""
    return _inline(find_used(item, given))


def mode_of(used: Used) -> AbstractContextManager[object]:
    """The mode that the settings say."""
    modes: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "manual": nullcontext,
        "inline": lambda: _inline(used),
        "live": lambda: live(used.store),
    }
    return modes[used.settings.mode]()


def in_its_mode(item: pytest.Item) -> AbstractContextManager[object]:
    """While the test runs, a store that the user's own `lowq_queue` made behaves as the test's settings say too."""
    if "lowq_queue" not in getattr(item, "fixturenames", ()):
        return nullcontext()
    given = getattr(item, "funcargs", {}).get("lowq_queue")
    if not isinstance(given, TempQueue) and running_queue() is None:
        return nullcontext()
    found = find_used(item, given if isinstance(given, TempQueue) else None)
    has_a_mode = found.store.on_push is not None or found.store.on_start is not None
    return nullcontext() if has_a_mode else mode_of(found)


def forget(item: pytest.Item) -> None:
    """The test is over, and has nothing of lowq any more."""
    if _used in item.stash:
        del item.stash[_used]


def _inline(used: Used) -> AbstractContextManager[Inline]:
    on_error: OnError = "raise" if used.settings.on_error == "raise" else "record"
    lossy: Lossy = "warn" if used.settings.lossy == "warn" else "strict"
    return inline(used.store, worker=used.worker, on_error=on_error, lossy=lossy)


def check_leftovers(item: pytest.Item) -> None:
    """The test failed where it left a task that was neither run nor asserted, and leftovers are not allowed."""
    __tracebackhide__ = True
    used = item.stash.get(_used, None)
    if used is None or used.settings.leftovers == "allow":
        return
    left = [
        f"{kept.backend.title}: {line(task)}"
        for kept in used.store.queues.values()
        for pushed in kept.pushed
        if (task := kept.backend.task(pushed.id)) is not None
        and task.attempts == 0
        and (id(kept), task.id) not in used.jobs.asserted
    ]
    if left:
        pytest.fail(
            "\n".join(
                [
                    "left over: neither run nor asserted",
                    *indent(left),
                    "run them (lowq_worker.drain()), assert them (lowq_jobs.assert_pushed(…)), or allow them: "
                    '@pytest.mark.lowq(leftovers="allow")',
                ]
            ),
            pytrace=False,
        )


def show_tasks(item: pytest.Item, report: pytest.TestReport) -> None:
    """The report has a section with the queues of the test as they are now."""
    used = item.stash.get(_used, None)
    if used is None or not used.store.queues:
        return
    lines = [f"now: {clock_time(used.store.clock.now())}"]
    for kept in used.store.queues.values():
        lines += queue_table(kept.backend.title, kept.backend)
    if runs := used.worker.latest(20):
        lines += ["runs:", *indent(runs)]
    if used.settings.twice or used.settings.shuffle:
        lines += [f"run the same again with {repeat(item.config)}"]
    if used.settings.keep_db:
        inside = used.store.folder if any(used.store.folder.iterdir()) else "no file: this queue has none"
        lines += [f"kept in {inside}"]
    report.sections.append(("lowq tasks", "\n".join(lines)))
