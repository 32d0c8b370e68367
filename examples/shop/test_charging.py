"""Whether a customer pays once, whatever happens to the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import world

from lowq import FakeClock
from lowq.testing import LiveWorker, SyncWorker
from lowq.testing.crash import CrashPoint


def test_an_order_is_paid_once(shop: ModuleType, lowq_worker: SyncWorker) -> None:
    """It holds in both shops, but in one of them not with `--lowq-twice`."""
    shop.place(1)

    lowq_worker.drain()

    assert world.history(1).count("paid") == 1


def test_a_second_delivery_charges_nobody_again(shop: ModuleType, lowq_worker: SyncWorker) -> None:
    shop.place(1)

    run = lowq_worker.run_one(shop.Orders)
    lowq_worker.redeliver(run)

    assert world.history(1).count("paid") == 1


@pytest.mark.parametrize("point", ["before", "during", "after"])
def test_a_crash_charges_nobody_again(
    shop: ModuleType, lowq_worker: SyncWorker, lowq_clock: FakeClock, point: CrashPoint
) -> None:
    shop.place(1)

    lease = lowq_worker.crash(shop.Orders, at=point)
    lowq_clock.move_to(lease.expires)
    lowq_worker.run_one(shop.Orders)

    assert world.history(1).count("paid") == 1


@pytest.mark.usefixtures("lowq_clock")
def test_a_crash_at_any_line_charges_nobody_again(shop: ModuleType, lowq_worker: SyncWorker) -> None:
    """Each line of the handler in turn, each time with an order that nobody has paid yet."""

    def arrange() -> None:
        Path("world.txt").unlink(missing_ok=True)
        shop.place(1)

    def check() -> None:
        assert world.history(1).count("paid") == 1

    lowq_worker.crash_everywhere(check, arrange=arrange, queue=shop.Orders)


def test_a_killed_worker_charges_nobody_again(
    shop: ModuleType, lowq_live_worker: Callable[..., LiveWorker], lowq_clock: FakeClock
) -> None:
    """A real process, killed while it waits for the printer."""
    Path("paper").unlink()
    shop.place(1)

    first = lowq_live_worker(shop.Orders)
    first.wait_until(lambda: "paid" in world.history(1))
    first.kill()
    Path("paper").touch()
    lowq_clock.advance(shop.Orders().lease_for)
    lowq_live_worker(shop.Orders).wait_until_idle()

    assert world.history(1).count("paid") == 1
