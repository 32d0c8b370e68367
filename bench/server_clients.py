"""Queues on a server: lowq, and the bare SQL or Lua that anybody would write by hand, behind the same few calls.

`RawPostgres` is a table with an index for the order and a unique one for what is equal; a push is an INSERT … ON
CONFLICT DO NOTHING, a claim an UPDATE of the first row that FOR UPDATE SKIP LOCKED gives, an ack a DELETE; each a
transaction and a prepared statement. `RawValkey` is a script for each verb: a hash of works, one of what is equal,
and a sorted set for the order. Neither has a schedule, states or headers; nothing wakes who waits, but where just
that is measured. Peers are in `postgres_peers.py` and `valkey_peers.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from typing import Any, Protocol, TypeVar

import psycopg
import redis

import lowq

T = TypeVar("T")

MINUTE = timedelta(minutes=1)

_numbers = count()


class Client(Protocol):
    """One client of a queue; what `claim` gives goes to `ack`.

    Some have more: `push_many`; `drain`, which runs all that waits by the queue's own worker, and may say when the
    last one had run; `push_and_wake` and `wait`, which gives a task to a client that waited idly for it.
    """

    def push(self, work: Any) -> object: ...
    def claim(self) -> Any: ...
    def ack(self, claimed: Any) -> object: ...
    def close(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A queue to measure, the distribution that it comes in, and what its calls do that others' do not."""

    name: str
    make: Callable[[str], Client]
    distribution: str = ""
    says: str = ""

    @property
    def version(self) -> str | None:
        """Its version; None where it is not installed."""
        if not self.distribution:
            return ""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


def client_of(kind: Any) -> Callable[[str], Client]:
    """Makes clients of that class, which may lack calls where the queue has none such."""

    def make(url: str) -> Client:
        client: Client = kind(url)
        return client

    return make


class Loop:
    """A client whose calls are coroutines, run one after the other."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)


def nothing(work: Any = None) -> None:
    """A task."""


class RawPostgres:
    """The SQL alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._listening: psycopg.Connection[Any] | None = None
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " priority int NOT NULL, work text NOT NULL, digest bytea NOT NULL UNIQUE, leased_until bigint,"
            " token bigint)"
        )
        self._connection.execute("CREATE INDEX IF NOT EXISTS raw_order ON raw (priority, id) WHERE token IS NULL")

    def push(self, work: Any) -> None:
        self._connection.execute(
            "INSERT INTO raw (priority, work, digest) VALUES (0, %s, %s) ON CONFLICT DO NOTHING", _row(work)
        )

    def push_many(self, new: list[Any]) -> None:
        texts, digests = zip(*map(_row, new), strict=True)
        self._connection.execute(
            "INSERT INTO raw (priority, work, digest) SELECT 0, * FROM unnest(%s::text[], %s::bytea[])"
            " ON CONFLICT DO NOTHING",
            (list(texts), list(digests)),
        )

    def claim(self) -> tuple[int, int] | None:
        token = next(_numbers)
        row = self._connection.execute(
            "UPDATE raw SET token = %s, leased_until = (extract(epoch FROM now()) * 1e6)::bigint + 60000000 WHERE"
            " id = (SELECT id FROM raw WHERE token IS NULL ORDER BY priority, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
            " RETURNING id, work",
            (token,),
        ).fetchone()
        if row is None:
            return None
        json.loads(row[1])
        return row[0], token

    def ack(self, claimed: tuple[int, int]) -> None:
        self._connection.execute("DELETE FROM raw WHERE id = %s AND token = %s", claimed)

    def drain(self) -> None:
        while (claimed := self.claim()) is not None:
            nothing()
            self.ack(claimed)

    def push_and_wake(self, work: Any) -> None:
        with self._connection.transaction():
            self.push(work)
            self._connection.execute("NOTIFY raw")

    def wait(self) -> Any:
        if self._listening is None:
            self._listening = psycopg.connect(self._url, autocommit=True)
            self._listening.execute("LISTEN raw")
        while (claimed := self.claim()) is None:
            for _ in self._listening.notifies(timeout=60, stop_after=1):
                pass
        return claimed

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        self._connection.close()


class RawValkey:
    """The scripts alone."""

    def __init__(self, url: str) -> None:
        self._server = redis.Redis.from_url(redis_url(url), socket_timeout=60)
        self._push, self._claim, self._ack = map(self._server.register_script, (_PUSH, _CLAIM, _ACK))
        self._keys = ["{raw}:ready", "{raw}:work", "{raw}:standing", "{raw}:next", "{raw}:leased", "{raw}:token"]

    def push(self, work: Any) -> None:
        self._push(self._keys, _row(work))

    def push_many(self, new: list[Any]) -> None:
        self._push(self._keys, [part for work in new for part in _row(work)])

    def claim(self) -> tuple[bytes, int] | None:
        token = next(_numbers)
        found = self._claim(self._keys, [token])
        if found is None:
            return None
        json.loads(found[1])
        return found[0], token

    def ack(self, claimed: tuple[bytes, int]) -> None:
        self._ack(self._keys, claimed)

    def drain(self) -> None:
        while (claimed := self.claim()) is not None:
            nothing()
            self.ack(claimed)

    def push_and_wake(self, work: Any) -> None:
        self.push(work)
        self._server.rpush("{raw}:bell", b"!")

    def wait(self) -> Any:
        while (claimed := self.claim()) is None:
            self._server.blpop(["{raw}:bell"], 60)
        return claimed

    def close(self) -> None:
        self._server.close()


_PUSH = """
for index = 1, #ARGV, 2 do
  local digest = ARGV[index + 1]
  if redis.call('HEXISTS', KEYS[3], digest) == 0 then
    local id = string.format('%016d', redis.call('INCR', KEYS[4]))
    redis.call('HSET', KEYS[3], digest, id)
    redis.call('HSET', KEYS[2], id, digest .. ARGV[index])
    redis.call('ZADD', KEYS[1], 0, id)
  end
end
"""
_CLAIM = """
local id = redis.call('ZPOPMIN', KEYS[1])[1]
if not id then return false end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[5], time[1] + 60, id)
redis.call('HSET', KEYS[6], id, ARGV[1])
return {id, string.sub(redis.call('HGET', KEYS[2], id), 21)}
"""
_ACK = """
if redis.call('HGET', KEYS[6], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[3], string.sub(redis.call('HGET', KEYS[2], ARGV[1]), 1, 20))
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return 1
"""


def redis_url(url: str) -> str:
    """The URL of a server's socket, as redis-py has it."""
    return url.replace("redis+unix://", "unix://")


class Lowq:
    """lowq at a location."""

    def __init__(self, url: str, batch: int = 1) -> None:
        self.queue = lowq.open_backend(url)
        self.push = self.push_and_wake = self.queue.push
        self.ack = self.queue.ack
        self.close = self.queue.close
        self._worker = lowq.Worker(self.queue, nothing, batch=batch)

    def push_many(self, new: list[Any]) -> None:
        self.queue.push_many(lowq.Item(work) for work in new)

    def claim(self) -> lowq.Lease | None:
        return self.queue.claim(lease_for=MINUTE)

    def drain(self) -> None:
        self._worker.drain()

    def wait(self) -> lowq.Lease | None:
        return self.queue.claim(lease_for=MINUTE, wait=MINUTE)


def _row(work: Any) -> tuple[str, bytes]:
    text = json.dumps(work, sort_keys=True)
    return text, blake2b(text.encode(), digest_size=20).digest()
