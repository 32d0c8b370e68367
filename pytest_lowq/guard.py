"""What stands before the application's queues where a test asked for none of lowq's fixtures.

It is there as soon as lowq is imported, and until the test run ends: also at import, between two tests, and in a
thread that outlives its test. A temporary queue that is entered stands before it. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lowq import override
from lowq.backend import LowqError
from pytest_lowq.settings import Settings, is_marked, option, settings_of, settings_of_all

if TYPE_CHECKING:
    from lowq.backend import Backend
    from lowq.testing import TempQueue
    from pytest_lowq.plugin import Now


class Guarded(LowqError):
    """A queue of the application was used where no test has one of its own."""


class Guard:
    """Answers for the application's queues as `lowq_guard` says: the test fails, has a store of its own, or neither.

    A test that asked for `lowq_queue`, or is marked, has its own from the first use on: also in a `setup_method` or a
    wider fixture, which run before the test's own fixtures are made.
    """

    def __init__(self, now: Now) -> None:
        self._now = now
        self._stand_in = override.StandIn(self._backend, self._start, None)
        self._stands = False
        self._lock = threading.RLock()
        self._entered = ExitStack()
        self._store: TempQueue | None = None

    def stand(self) -> None:
        """The guard is asked, where nothing else stands in."""
        if not self._stands:
            self._stands = True
            override.stand(self._stand_in)

    def leave(self) -> None:
        """The guard is not asked any more."""
        self.close()
        if self._stands:
            self._stands = False
            override.leave(self._stand_in)

    def close(self) -> None:
        """The store that was made without a fixture is closed, and was found whole."""
        with self._lock:
            self._store = None
            self._entered.close()

    def _backend(self, queue: override.Overridden) -> Backend | None:
        with self._lock:
            store = self._store_for(queue)
            return None if store is None else store.of(queue).backend

    def _start(self, queue: override.Overridden) -> bool | None:
        with self._lock:
            store = self._store_for(queue)
            return None if store is None else store.start(queue)

    def _store_for(self, queue: override.Overridden) -> TempQueue | None:
        """The store that this queue has now; None: the real one. Fails the test where neither is right."""
        __tracebackhide__ = True
        item, config = self._now.item, self._now.config
        if option(config, "harness"):  # the suite checks real queues, workers among them
            return None
        settings = settings_of_all(config) if item is None else settings_of(item)
        names = getattr(item, "fixturenames", ())
        wanted = item is not None and ("lowq_queue" in names or is_marked(item))
        if not wanted and settings.guard == "off":
            return None
        if not wanted and settings.guard == "fail":
            _refuse(queue, item)
        return self._fixture(item) or self._make(settings)

    def _fixture(self, item: pytest.Item | None) -> TempQueue | None:
        """What the fixture lowq_queue gives to this test, where it can still have fixtures."""
        request = getattr(item, "_request", None)
        if request is None or self._now.ending or self._store is not None:
            return None
        from lowq.testing.queues import running_queue

        request.getfixturevalue("lowq_queue")
        return None if override.is_latest(self._stand_in) else running_queue()

    def _make(self, settings: Settings) -> TempQueue:
        """A store without a fixture: at import, in a teardown, for a test that has no fixtures; until that ends."""
        if self._store is None:
            self._store = self._entered.enter_context(_store(settings))
        return self._store


@contextmanager
def _store(settings: Settings) -> Iterator[TempQueue]:
    from lowq.testing.clock import running_clock
    from lowq.testing.queues import TempQueue
    from pytest_lowq.fixtures import mode_of, use

    with tempfile.TemporaryDirectory(prefix="lowq-") as folder:
        store = TempQueue(Path(folder), running_clock())
        try:
            with mode_of(use(settings, store)):
                yield store
        finally:
            store.close()


def _refuse(queue: override.Overridden, item: pytest.Item | None) -> None:
    """The test fails; where there is none, Guarded is raised."""
    __tracebackhide__ = True
    where = f"the application's queue {queue.name!r} at {queue.location}"
    ways = (
        "Ask for lowq_queue in the test's arguments (lowq_jobs, lowq_worker and lowq_inline bring it), or mark the "
        'test, its class or its module: @pytest.mark.lowq(mode="inline"). Code that is not of one test, such as a '
        "fixture of wider scope, enters `with lowq.testing.temp_queue():`. With lowq_guard = isolate in the ini file "
        'every test has queues of its own; with @pytest.mark.lowq(guard="off") this one uses the real ones.'
    )
    if item is not None:
        pytest.fail(f"this test would use {where}, because it asked for no queue of its own. {ways}")
    raise Guarded(
        f"{where} would be used outside of a test: while modules are imported, or by a thread that outlived its "
        f"test. {ways}"
    )
