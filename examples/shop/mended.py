"""The shop without the two faults of `faulty`.

The bank is given a key, the same one at each delivery. And the parcel is pushed by the task that it must come after.
"""

from __future__ import annotations

from typing import Any

import world

from lowq import TaskQueue


class Orders(TaskQueue):
    """Takes the money."""

    path = "orders.db"

    def process(self, work: Any) -> None:
        """The order is paid, its receipt printed, and its parcel next."""
        world.charge(work["order"], key=f"order {work['order']}")
        world.print_receipt(work["order"])
        Parcels().push({"order": work["order"]})


class Parcels(TaskQueue):
    """Sends the goods."""

    path = "parcels.db"

    def process(self, work: Any) -> None:
        """The parcel is on its way."""
        world.send(work["order"])


def place(order: int) -> None:
    """The order will be paid and then sent."""
    Orders().push({"order": order})
