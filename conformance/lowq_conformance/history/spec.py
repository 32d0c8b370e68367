"""What a queue promises of order, time and equal works, as far as a model must know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lowq import Dedupe


@dataclass(frozen=True, slots=True)
class Spec:
    """What a queue promises of order, time and equal works, as far as a model must know it.

    `grace`: a lease that ran out has ended for everybody this much later; None: it may, and nothing must follow.
    `max_deliveries`: a task that was handed out so often and comes back may be set aside, so that it never comes
    again; None: none is. `counts_release`: also claims that were released count for that.
    `eps`: every reading of the queue's clock is within this of ours. `due_order` and `requeue`: the suite's traits.
    """

    dedupe: Dedupe = "off"
    fifo: bool = True
    priority: bool = True
    due_order: Literal["push", "due"] | None = "push"
    requeue: Literal["place", "any"] = "place"
    grace: float | None = None
    eps: float = 0
    max_deliveries: int | None = None
    counts_release: bool = True
