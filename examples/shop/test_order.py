"""Whether things happen in the order that they should."""

from __future__ import annotations

from types import ModuleType

import world

from lowq.testing import SyncWorker

ORDERS = range(1, 31)


def test_no_parcel_leaves_before_it_is_paid(shop: ModuleType, lowq_worker: SyncWorker) -> None:
    """It holds in both shops, but in one of them not with `--lowq-shuffle`."""
    for order in ORDERS:
        shop.place(order)

    lowq_worker.drain()

    for order in ORDERS:
        happened = world.history(order)
        assert happened.index("paid") < happened.index("sent")
