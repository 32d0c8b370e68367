"""A client of a queue that `lowq serve` keeps, on this machine or another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import ClassVar, cast
from urllib.parse import urlsplit

from lowq.backend import (
    NOW,
    Acked,
    Counts,
    Dedupe,
    InvalidLocation,
    Item,
    Lease,
    Pushed,
    State,
    Task,
    Work,
)
from lowq.backends.http.transport import Transport
from lowq.clock import Clock, choose_clock, deadline, span, to_micros
from lowq.rules.adoption import adoptions
from lowq.rules.entry import entries, entry
from lowq.rules.leases import check_id, check_lease, check_leases, check_number, check_reason, deadline_of_next
from lowq.rules.names import check_dedupe, check_name
from lowq.rules.options import flag_of, length_of
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import check_page
from lowq.rules.server_url import hide_password
from lowq.rules.transaction import no_transaction
from lowq.wire import (
    Json,
    optional,
    read_acked,
    read_counts,
    read_instant,
    read_lease,
    read_list,
    read_pushed,
    read_task,
    write_instant,
    write_item,
    write_task,
)

_PAGE = 10_000
"""Tasks of one answer, leases and items of one request at most."""

_LONGEST_WAIT = timedelta(seconds=20)
"""How long one request waits for a task; a longer wait is several."""

_SHORTEST_WAIT = timedelta(seconds=0.25)
"""The same where the caller's clock is not the machine's, which may be moved meanwhile."""

_CLOCKS_DIFFER = timedelta(minutes=1)


class HTTPBackend:
    """A client of the queue `name` of the server at ``host:port``, usable by many threads and, in both, after a fork.

    `token` is what the server asks for, by default the environment's LOWQ_TOKEN. `patience` is how long a server that
    is away is waited for before BackendUnavailable. `ca` names a file of certificates to trust instead of the
    system's. `create=False` refuses a name where no queue is. In a URL: ``?patience=5&ca=/etc/ca.pem`` (seconds).

    Time is the server's. A `clock` is what this client's own waiting goes by; it must be the server's clock, too.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("token", "patience", "ca", "create")

    _secure = False

    def __init__(
        self,
        place: str,
        *,
        name: str = "default",
        dedupe: Dedupe | None = None,
        clock: Clock | None = None,
        token: str | None = None,
        patience: timedelta | str = timedelta(seconds=10),
        ca: str | None = None,
        create: bool | str = True,
    ) -> None:
        patience, create = length_of(patience, "patience"), flag_of(create, "create")
        check_name(name)
        check_dedupe(dedupe)
        shown = f"{'https' if self._secure else 'http'}://{place}"
        host, path = _host_and_path(shown)
        self.name = name
        self.where = f"{host.lower()}{path}"
        self._clock = choose_clock(clock)
        self._slice = _LONGEST_WAIT if clock is None else _SHORTEST_WAIT
        self._transport = Transport(
            secure=self._secure,
            host=host,
            base=f"{path}/api/v1",
            shown=shown,
            token=_token(token, shown),
            ca=ca,
            patience=patience,
        )
        try:
            self._open(dedupe, create, clock)
        except BaseException:
            self._transport.close()
            raise

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._dedupe

    @property
    def promises(self) -> frozenset[str]:
        """What the queue behind the server keeps, and that it is shared by threads and processes."""
        return self._promises

    def push(
        self,
        work: Work,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        """The work is kept, or an equal one already stood and nothing changed."""
        entry(work, key, priority, not_before, headers)
        item = Item(work, key, priority, not_before, headers or {})
        pushed = read_pushed(self._post("push", write_item(item)))
        warn_of_own_work(self, [pushed])
        return pushed

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        batch = list(items)
        entries(batch)
        answer = self._post("push_many", {"items": [write_item(each) for each in batch]})
        pushed = read_list(read_pushed)(answer.get("pushed"), "pushed")
        warn_of_own_work(self, pushed)
        return pushed

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks, which another queue had, are kept or none; see `lowq.backend.Adopting`."""
        batch = list(tasks)
        adoptions(batch)
        answer = self._post("adopt", {"tasks": [write_task(each) for each in batch]})
        return read_list(read_pushed)(answer.get("pushed"), "pushed")

    def within(self, connection: object) -> AbstractContextManager[None]:  # noqa: ARG002  # whatever it is
        """Raises NoTransaction: the queue is in no database of the caller's."""
        raise no_transaction(self)

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        deadline(0, lease_for)
        left = self._clock.countdown(wait)
        while True:
            last = left() <= NOW
            seconds = 0.0 if last else min(left(), self._slice).total_seconds()
            query = {"wait_seconds": f"{seconds:.6f}"} if seconds > 0 else {}
            answer = self._post("claim", _lasting(lease_for), seconds=max(0.0, seconds), **query)
            lease = optional(read_lease)(answer.get("lease"), "lease")
            if lease is not None or last:
                return lease
            again = answer.get("again_seconds")
            if isinstance(again, int | float):
                self._transport.pause(min(float(again), max(0.0, left().total_seconds())))

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        limit = check_number(limit, "limit", least=1)
        deadline(0, lease_for)
        answer = self._post("claim_many", {"limit": min(limit, _PAGE), **_lasting(lease_for)})
        return read_list(read_lease)(answer.get("leases"), "leases")

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        deadline(0, lease_for)
        return read_lease(self._post("extend", {**_write_held(lease), **_lasting(lease_for)}).get("lease"))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        body = _write_held(lease)
        if claim_for is not None:
            deadline(0, claim_for, "claim_for")
            body["claim_seconds"] = claim_for.total_seconds()
        return optional(read_lease)(self._post("ack", body).get("lease"), "lease")

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = min(check_number(claim, "claim", least=0), _PAGE)
        deadline_of_next(claim, lease_for, 0)
        body: Json = {"leases": [_lease(each) for each in settled], "claim": claim}
        return read_acked(self._post("ack_many", {**body, **({} if lease_for is None else _lasting(lease_for))}))

    def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        uncount: bool = False,
    ) -> None:
        """The task waits again in its old place, with `reason`; `uncount` takes the attempt back."""
        if not_before is not None:
            to_micros(not_before, "not_before")
        check_reason(reason)
        more = {"not_before": write_instant(not_before), "reason": reason, "uncount": bool(uncount)}
        self._post("release", {**_write_held(lease), **more})

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        self._post("dead_letter", {**_write_held(lease), "reason": reason})

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        check_id(id)
        return bool(self._post("redrive", {"id": id}).get("redriven"))

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        check_id(id)
        return bool(self._post("cancel", {"id": id}).get("cancelled"))

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id)
        return optional(read_task)(self._get("task", id=id).get("task"), "task")

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead.

        More than 10,000 come in several answers, between which the queue may change.
        """
        limit = check_page(state, after, limit)
        found: list[Task] = []
        while limit is None or len(found) < limit:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {"limit": str(wanted), **({} if state is None else {"state": str(state)})}
            if after is not None:
                query["after"] = _place(after)
            page = read_list(read_task)(self._get("tasks", **query).get("tasks"), "tasks")
            found += page
            if len(page) < wanted:
                break
            after = page[-1]
        return found

    def count(self) -> Counts:
        """How many tasks are in each state."""
        return read_counts(self._get("count"))

    def names(self) -> list[str]:
        """The names of the queues of the server's location."""
        return sorted(self._get("names").get("names", {}))

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        return optional(read_instant)(self._get("next_due").get("next_due"), "next_due")

    def close(self) -> None:
        """The connections are let go; twice is fine; anything else afterwards raises QueueClosed."""
        self._transport.close()

    def _open(self, dedupe: Dedupe | None, create: bool, clock: Clock | None) -> None:
        before = None if clock is None else clock.now()
        answer = self._post("open", {"dedupe": dedupe, "create": create})
        if "promises" not in answer or "now" not in answer:
            raise InvalidLocation(f"{self._transport.shown}: another program answers there")
        self._dedupe = cast(Dedupe, answer.get("dedupe"))
        self._promises = frozenset(map(str, answer["promises"])) - {"transaction"} | {"threads", "processes"}
        if clock is None or before is None:
            return
        theirs, after = read_instant(answer["now"], "now"), clock.now()
        if not min(before, after) - _CLOCKS_DIFFER <= theirs <= max(before, after) + _CLOCKS_DIFFER:
            raise InvalidLocation(
                f"{self._transport.shown} keeps time by itself, and says {theirs}; the clock that was given says "
                f"{after}: give the server that clock, or this client none"
            )

    def _post(self, verb: str, body: Json, *, seconds: float = 0.0, **query: str) -> Json:
        return self._transport.post(verb, body, seconds=seconds, name=self.name, **query)

    def _get(self, verb: str, **query: str) -> Json:
        return self._transport.get(verb, name=self.name, **query)


class HTTPSBackend(HTTPBackend):
    """The same over TLS, with the server's certificate checked."""

    _secure = True


def _lasting(lease_for: timedelta) -> Json:
    return {"lease_seconds": lease_for.total_seconds()}


def _lease(lease: Lease) -> Json:
    return {"id": lease.id, "token": lease.token, "expires": write_instant(lease.expires)}


def _write_held(lease: Lease) -> Json:
    check_lease(lease)
    return {"lease": _lease(lease)}


def _place(task: Task) -> str:
    """The task without its work, which says nothing of its place in the list."""
    return json.dumps({**write_task(task), "work": None, "reason": None, "headers": {}})


def _host_and_path(url: str) -> tuple[str, str]:
    try:
        found = urlsplit(url)
        port = found.port
        (found.hostname or "").encode("idna")
    except ValueError:  # whose text may have the password that stands before the host
        raise InvalidLocation(
            f"location: {hide_password(url)}: its host and port cannot be read; expected http://host:5000"
        ) from None
    if (
        any(char <= " " for char in url)
        or not found.hostname
        or found.query
        or found.fragment
        or found.username is not None
        or port == 0
    ):
        raise InvalidLocation(
            f"location: {url.rpartition('@')[2]}: expected http://host:5000; a token is given by LOWQ_TOKEN or token="
        )
    return found.netloc, found.path.rstrip("/")


def _token(token: str | None, shown: str) -> str:
    token = os.environ.get("LOWQ_TOKEN", "") if token is None else token
    if not isinstance(token, str):
        raise TypeError(f"token: expected a string, got {type(token).__name__}")
    if not all("!" <= char <= "~" for char in token):
        raise InvalidLocation(f"{shown}: the token has characters that no token has; expected printable ASCII")
    return token
