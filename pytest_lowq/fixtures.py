"""What the plugin's fixtures are; imported by the first test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from lowq import Backend, Clock, FakeClock
from lowq.testing import Inline, Jobs, SyncWorker, TempQueue, fake_clock, inline, live, live_workers, temp_queue
from lowq.testing.inline import Lossy, OnError
from lowq.testing.table import clock_time, indented, line, queue_table
from pytest_lowq.settings import Settings, repeat, settings_of

if TYPE_CHECKING:
    from lowq.testing.clock import Patch

__all__ = ["check_leftovers", "clock", "inline_mode", "jobs", "live_workers", "queue", "show_tasks", "worker"]


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
    if _used in request.node.stash:
        raise pytest.UsageError(
            "lowq_clock: the queues of this test run on the real clock already; ask for lowq_clock "
            "in the test's own arguments, before lowq_queue is made"
        )
    with fake_clock(settings.now, path=tmp_path / "lowq-clock", patch=cast("Patch", settings.clock_patch)) as made:
        yield made


@contextmanager
def queue(
    request: pytest.FixtureRequest, tmp_path: Path, backend: Callable[[Path, Clock], Backend] | None
) -> Iterator[TempQueue]:
    """The queues of a test, kept in its `tmp_path`; on lowq_clock where the test has it, or is told the time."""
    item = request.node
    settings = settings_of(item)
    if "lowq_clock" in item.fixturenames or settings.now is not None:
        request.getfixturevalue("lowq_clock")
    folder = tmp_path / "lowq"
    folder.mkdir()
    with temp_queue(folder, backend=backend) as store:
        worker = SyncWorker(
            store,
            random=settings.random,
            max_runs=settings.max_runs,
            twice=settings.twice,
            shuffle=settings.shuffle,
        )
        item.stash[_used] = Used(settings, store, Jobs(store), worker)
        try:
            modes: dict[str, Callable[[], AbstractContextManager[object]]] = {
                "manual": nullcontext,
                "inline": lambda: inline_mode(item),
                "live": lambda: live(store),
            }
            with modes[settings.mode]():
                yield store
        finally:
            del item.stash[_used]


def jobs(item: pytest.Item) -> Jobs:
    """The assertions of a test."""
    return item.stash[_used].jobs


def worker(item: pytest.Item) -> SyncWorker:
    """The worker of a test."""
    return item.stash[_used].worker


@contextmanager
def inline_mode(item: pytest.Item) -> Iterator[Inline]:
    """Inline mode, as the test's settings say."""
    used = item.stash[_used]
    on_error: OnError = "raise" if used.settings.on_error == "raise" else "record"
    lossy: Lossy = "warn" if used.settings.lossy == "warn" else "strict"
    with inline(used.store, worker=used.worker, on_error=on_error, lossy=lossy) as mode:
        yield mode


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
                    *indented(left),
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
        lines += ["runs:", *indented(runs)]
    if used.settings.twice or used.settings.shuffle:
        lines += [f"run the same again with {repeat(item.config)}"]
    if used.settings.keep_db:
        inside = used.store.folder if any(used.store.folder.iterdir()) else "no file: this queue has none"
        lines += [f"kept in {inside}"]
    report.sections.append(("lowq tasks", "\n".join(lines)))
