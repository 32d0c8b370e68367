"""How a server is set, as far as it decides what a queue in it can promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lowq.backend import InvalidLocation

if TYPE_CHECKING:
    from lowq.backends.redis.address import Address
    from lowq.backends.redis.line import Facts
    from lowq.backends.redis.transport import Transport

Durability = Literal["power", "second", "none", "unknown"]
"""What a push that returned survives: the loss of power (appendfsync always); that of the server and, but for about
the last second, the loss of power (everysec); nothing of both (no appendonly file, or no sync of it); or it is not
known, because the server does not tell (CONFIG is forbidden)."""


def durability_of(server: Transport) -> Durability:
    """What the server's settings promise, now."""
    answer = server.optional(b"CONFIG", b"GET", b"append*")
    if not isinstance(answer, list):
        return "unknown"
    said = dict(zip(answer[::2], answer[1::2], strict=False))
    if b"appendonly" not in said:
        return "unknown"
    if said[b"appendonly"] != b"yes":
        return "none"
    kept: dict[bytes, Durability] = {b"always": "power", b"everysec": "second"}
    return kept.get(said.get(b"appendfsync", b""), "none")


def refuse_eviction(facts: Facts, address: Address) -> None:
    """Raise InvalidLocation where the server throws keys away when its memory is full."""
    if facts.maxmemory and facts.policy not in ("noeviction", ""):
        raise InvalidLocation(
            f"{address}: the server throws keys away when its memory is full (maxmemory-policy {facts.policy}), and "
            "tasks with them; set it to noeviction: CONFIG SET maxmemory-policy noeviction"
        )
