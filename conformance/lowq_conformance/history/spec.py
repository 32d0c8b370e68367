"""What a queue promises of order, time and equal works, as far as a model must know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lowq import Dedupe


@dataclass(frozen=True, slots=True)
class Spec:
    """What a queue promises of order, time and equal works, as far as a model must know it.

    `grace`: a lease that ran out has ended for everybody this much later; None: it may, and nothing must follow.
    `eps`: every reading of the queue's clock is within this of ours. `due_order` and `requeue`: the suite's traits.
    """

    dedupe: Dedupe = "off"
    fifo: bool = True
    priority: bool = True
    due_order: Literal["push", "due"] | None = "push"
    requeue: Literal["place", "any"] = "place"
    grace: float | None = None
    eps: float = 0
