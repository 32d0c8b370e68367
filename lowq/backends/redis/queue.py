"""One queue in a server: its keys, which of all queues that ever had its name it is, and the calls of its scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast, get_args

from lowq import kernel
from lowq.backend import BackendUnavailable, CorruptQueue, Dedupe, InvalidLocation, QueueGone
from lowq.backends.redis.line import Facts, Line
from lowq.backends.redis.scripts import script
from lowq.backends.redis.settings import refuse_eviction
from lowq.backends.redis.transport import Transport
from lowq.excerpt import excerpt
from lowq.rules.names import check_same_dedupe, no_queue

LAYOUT = 1
"""The version of what is kept under the keys."""

_KEYS = b"ready scheduled leased dead standing task work bell".split()


class Queue:
    """The queue `name` under a prefix; `now` says what to tell the server as the time."""

    dedupe: Dedupe = "until_done"
    _made = b""
    """Which queue of this name it is: a server that was emptied has another, or none."""

    def __init__(self, server: Transport, prefix: str, name: str, now: Callable[[], bytes]) -> None:
        self.name = name
        self._server = server
        self._now = now
        self._names = f"{prefix}:names".encode()
        base = f"{{{prefix}:{name}}}".encode()
        self._keys = [base, *(base + b":" + part for part in _KEYS)]
        self._lines = base + b":call:"

    @property
    def bell(self) -> bytes:
        """The key of the list from which who waits for a task is woken."""
        return self._keys[-1]

    def names(self) -> list[str]:
        """The names of the queues under this prefix."""
        known = self._server.anywhere(b"SMEMBERS", self._names)
        return sorted(each.decode(errors="replace") for each in known)

    def adopt(self, dedupe: Dedupe | None, *, create: bool) -> None:
        """It is known which queue has this name, which is made where it is new, and how it dedupes."""
        server, shown = self._server, self._server.address
        facts = server.facts()
        refuse_eviction(facts, shown)
        if facts.replica:
            raise InvalidLocation(f"{shown}: this server is a read-only replica; name its primary")
        made = kernel.urandom(12).hex().encode()
        first = (dedupe or "until_done").encode(), b"1" if create else b"0"
        arguments = [made, *first, b"%d" % LAYOUT, self._names, self._lines + b"0"]
        kind, *said = server.run(script("open"), 9, lambda _, __: [*self._keys, *arguments])
        if kind == b"none":
            raise no_queue(shown, self.name, self.names())
        if kind == b"foreign":
            raise InvalidLocation(
                f"{shown}: the key {said[0].decode(errors='replace')!r} holds what lowq did not write; give ?prefix=…"
                " or another database"
            )
        if kind == b"newer":
            raise InvalidLocation(
                f"{shown}: the queue {self.name!r} was made by a newer lowq (layout {said[0].decode()}, this lowq"
                f" knows {LAYOUT}); upgrade lowq"
            )
        found = said[1].decode(errors="replace")
        if found not in get_args(Dedupe):
            raise CorruptQueue(f"{shown}: the key {self._keys[0].decode()!r} is damaged: no such dedupe")
        check_same_dedupe(shown, self.name, cast(Dedupe, found), dedupe)
        if not server.anywhere(b"SISMEMBER", self._names, self.name.encode()):  # which a full server answers, too
            server.anywhere(b"SADD", self._names, self.name.encode())
        self._made, self.dedupe = said[0], cast(Dedupe, found)

    def change(self, verb: str, *arguments: bytes) -> Sequence[Any]:
        """What the script answers; so much fell due meanwhile that it may have to be asked again."""
        while (answer := self.run(verb, *arguments))[0] == b"again":
            pass
        return answer

    def run(self, verb: str, *arguments: bytes) -> Sequence[Any]:
        call = partial(self._pack_call, self._now(), arguments)
        answer: Sequence[Any] = self._server.run(script(verb), 10, call)
        if answer[0] == b"gone":
            raise QueueGone(
                f"{self._server.address}: the queue {self.name!r} is gone: the server was emptied, or another one"
                " took its place; open the queue again"
            )
        if answer[0] == b"late":
            raise BackendUnavailable(f"{self._server.address}: a later call of this client came first; try again")
        return answer

    def _pack_call(self, now: bytes, arguments: Sequence[bytes], line: Line, facts: Facts) -> list[bytes]:
        return [
            *self._keys,
            self._lines + line.name,
            self._made,
            now,
            _epoch(self._made, facts.run),
            b"%d" % line.number,
            self.dedupe.encode(),
            *arguments,
        ]


@cache
def _epoch(made: bytes, run: bytes) -> bytes:
    return hashlib.sha1(made + run, usedforsecurity=False).hexdigest()[:12].encode()


def check_prefix(prefix: str) -> None:
    """Raise TypeError or InvalidLocation unless keys can begin so."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string, got {type(prefix).__name__}")
    if not 1 <= len(prefix) <= 100 or not prefix.isprintable() or set("{}:*?[]\\") & set(prefix):
        raise InvalidLocation(
            f"prefix: expected 1 to 100 printable characters, none of them one of {{}}:*?[]\\, got {excerpt(prefix)}"
        )
