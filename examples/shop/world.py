"""The world outside of the shop: a bank, a post office and a printer, the same ones for every process."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path


def charge(order: int, *, key: str | None = None) -> None:
    """The customer paid for the order; a key that the bank has seen before charges nobody again."""
    _happens(f"order {order} paid", key)


def send(order: int) -> None:
    """The parcel of this order is on its way; the post office takes each number once."""
    _happens(f"order {order} sent", f"parcel {order}")


def print_receipt(order: int) -> None:
    """The receipt is printed, as soon as there is paper."""
    while not Path("paper").exists():
        time.sleep(0.005)
    _happens(f"order {order} printed", None)


def history(order: int) -> list[str]:
    """What happened to the order: paid, printed, sent."""
    world = Path("world.txt")
    lines = world.read_text(encoding="utf-8").splitlines() if world.exists() else []
    events = [line.split("\t")[0] for line in lines]
    return [event.rpartition(" ")[2] for event in events if event.startswith(f"order {order} ")]


def _happens(event: str, key: str | None) -> None:
    with open("world.txt", "a+", encoding="utf-8") as world:
        fcntl.flock(world, fcntl.LOCK_EX)
        world.seek(0)
        seen = [line.split("\t")[1] for line in world.read().splitlines()]
        if key is None or key not in seen:
            world.write(f"{event}\t{key}\n")
