"""One worker in the whole cluster runs a queue, where its location can say which."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from lowq.backend import Backend, InvalidLocation


def check_cluster(queue: Backend) -> None:
    """Raise InvalidLocation where the queue cannot be run once per cluster."""
    if not callable(getattr(queue, "once_per_cluster", None)):
        raise InvalidLocation(
            f"the queue {queue.name}: once per cluster goes with postgresql://, whose sessions hold a lock; other "
            "locations have none that is gone with its holder"
        )


def describe_turn(alone: bool) -> str:
    """Whose turn it is to claim, in words."""
    return "this worker claims, others stand by" if alone else "another worker claims, this one stands by"


def standing_by(queue: Backend, told: Callable[[bool], object]) -> AbstractContextManager[None]:
    """Inside, the queue claims once per cluster; `told` hears when it begins to claim (True), and to stand by."""
    check_cluster(queue)
    block: AbstractContextManager[None] = queue.once_per_cluster(told)  # type: ignore[attr-defined]
    return block
