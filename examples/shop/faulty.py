"""A shop with two faults that no ordinary test finds.

A worker that dies after `charge` leaves a task that is delivered again, and the customer pays twice. And a parcel
leaves after it was paid only as long as the worker of the one queue happens to be ahead of the other's.
"""

from __future__ import annotations

from typing import Any

import world

from lowq import TaskQueue


class Orders(TaskQueue):
    """Takes the money."""

    path = "orders.db"

    def process(self, work: Any) -> None:
        """The order is paid, and its receipt printed."""
        world.charge(work["order"])
        world.print_receipt(work["order"])


class Parcels(TaskQueue):
    """Sends the goods."""

    path = "parcels.db"

    def process(self, work: Any) -> None:
        """The parcel is on its way."""
        world.send(work["order"])


def place(order: int) -> None:
    """The order will be paid and sent."""
    Orders().push({"order": order})
    Parcels().push({"order": order})
