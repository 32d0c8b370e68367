"""The interface for programs, `/api/v1`: each verb of the contract by its own name, JSON in and out.

`openapi.py` describes it. A request that changes something may carry an id of its sender's (the header
``Idempotency-Key``): sent again, it gets the answer of the first time and is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from flask import Blueprint, Response, request

from lowq import __version__
from lowq.backend import NOW, Adopting, Backend, Dedupe, Lease, Task
from lowq.clock import SystemClock, span
from lowq.web import openapi
from lowq.web.message import Query, body_of, read_lease, seconds, seconds_text, state_text, whole_text
from lowq.web.parts import may_write, parts
from lowq.web.problems import answer
from lowq.web.replies import LONGEST_ID, Reply
from lowq.web.waiting import LEFT
from lowq.wire import (
    Fields,
    InvalidMessage,
    Json,
    optional,
    read_bool,
    read_instant,
    read_item,
    read_json,
    read_list,
    read_number,
    read_task,
    read_text,
    write_acked,
    write_counts,
    write_instant,
    write_lease,
    write_pushed,
    write_task,
)

MOST = openapi.MOST
"""Items of one push_many, leases of one ack_many, tasks of one claim_many or page."""

_SLICE = timedelta(seconds=0.5)
"""How long a waiting claim goes on before it looks whether its client is still there."""

_AGAIN = 0.5
"""Seconds after which a claim that could not wait here is asked to come again."""

Verb = Callable[[Backend, Fields], Json]
View = Callable[[Backend, Query], Json]


def blueprint() -> Blueprint:
    """The interface, to be registered in an application."""
    made = Blueprint("api", __name__, url_prefix="/api/v1")
    made.add_url_rule("/openapi.json", "document", document)
    for view in (task, tasks, count, next_due, names):
        made.add_url_rule(f"/{view.__name__}", view.__name__, _looking(view))
    changes: tuple[Verb, ...] = (
        push, push_many, adopt, claim_many, extend, ack, ack_many, release, dead_letter, redrive, cancel,
    )  # fmt: skip
    for verb in changes:
        made.add_url_rule(f"/{verb.__name__}", verb.__name__, _changing(verb), methods=["POST"])
    made.add_url_rule("/claim", "claim", _guard(claim), methods=["POST"])
    made.add_url_rule("/open", "open", _guard(open_queue), methods=["POST"])
    return made


def document() -> Response:
    """The OpenAPI document of this interface."""
    return _json(openapi.document(__version__))


def open_queue() -> Response:
    """What the queue is; it is made where it is new, unless ``create`` is false or the sender may only look."""
    name, body = _name(Query(request)), body_of(request)
    dedupe = body.take("dedupe", optional(read_text), None)
    create = body.take("create", read_bool, True)
    body.refuse_others()
    queue = parts().queues.get(name, dedupe=cast("Dedupe | None", dedupe), create=create and may_write())
    return _json(
        {
            "name": queue.name,
            "dedupe": queue.dedupe,
            "promises": sorted(queue.promises),
            "now": write_instant(parts().now()),
            "version": __version__,
        }
    )


def push(queue: Backend, body: Fields) -> Json:
    """The work is kept, or an equal one already stood and nothing changed."""
    item = read_item(body.whole(), "body")
    return write_pushed(
        queue.push(item.work, key=item.key, priority=item.priority, not_before=item.not_before, headers=item.headers)
    )


def push_many(queue: Backend, body: Fields) -> Json:
    """All of the items are kept or none."""
    items = body.take("items", _at_most(MOST, read_item))
    body.refuse_others()
    return {"pushed": [write_pushed(each) for each in queue.push_many(items)]}


def adopt(queue: Backend, body: Fields) -> Json:
    """All of the tasks, which another queue had, are kept or none."""
    tasks = body.take("tasks", _at_most(MOST, read_task))
    body.refuse_others()
    return {"pushed": [write_pushed(each) for each in cast("Adopting", queue).adopt(tasks)]}


def claim() -> Response:
    """The most urgent due task is leased to the sender; waits for one where the query says how long."""
    query = Query(request)
    name = _name(query, others=True)
    wait = query.take("wait_seconds", seconds_text, NOW)
    span(wait, "wait_seconds")
    query.refuse_others()
    body = body_of(request)
    lease_for = body.take("lease_seconds", seconds, parts().settings.lease_for)
    body.refuse_others()
    queue = parts().queues.get(name)

    def act() -> Reply:
        lease, waited = _claim(queue, lease_for, wait)
        if lease is not None:
            _remember(queue, lease)
        written = None if lease is None else write_lease(lease)
        again = None if waited else _AGAIN
        return Reply(200, _text({"lease": written, "again_seconds": again}), keep=lease is not None)

    return _once(act, f"claim {name} {lease_for}", again=True)


def claim_many(queue: Backend, body: Fields) -> Json:
    """The most urgent due tasks, `limit` at most, are leased to the sender, in claim order."""
    limit = body.take("limit", read_number(0, MOST))
    lease_for = body.take("lease_seconds", seconds, parts().settings.lease_for)
    body.refuse_others()
    leases = queue.claim_many(limit, lease_for=lease_for)
    for lease in leases:
        _remember(queue, lease)
    return {"leases": [write_lease(lease) for lease in leases]}


def extend(queue: Backend, body: Fields) -> Json:
    """The task is held for that long from now, under the same token."""
    lease, lease_for = body.take("lease", read_lease), body.take("lease_seconds", seconds)
    body.refuse_others()
    return {"lease": write_lease(queue.extend(lease, lease_for=lease_for))}


def ack(queue: Backend, body: Fields) -> Json:
    """The task is done and gone; with `claim_seconds` the next one is claimed in the same transaction."""
    lease, claim_for = body.take("lease", read_lease), body.take("claim_seconds", optional(seconds), None)
    body.refuse_others()
    claimed = queue.ack(lease, claim_for=claim_for)
    if claimed is not None:
        _remember(queue, claimed)
    return {"lease": None if claimed is None else write_lease(claimed)}


def ack_many(queue: Backend, body: Fields) -> Json:
    """Each task whose lease is still the sender's is done and gone; up to `claim` next ones are claimed."""
    leases = body.take("leases", _at_most(MOST, read_lease))
    claim = body.take("claim", read_number(0, MOST), 0)
    lease_for = body.take("lease_seconds", optional(seconds), None)
    body.refuse_others()
    acked = queue.ack_many(leases, claim=claim, lease_for=lease_for)
    for lease in acked.claimed:
        _remember(queue, lease)
    return write_acked(acked)


def release(queue: Backend, body: Fields) -> Json:
    """The task waits again in its old place."""
    lease = body.take("lease", read_lease)
    not_before = body.take("not_before", optional(read_instant), None)
    reason = body.take("reason", optional(read_text), None)
    uncount = body.take("uncount", read_bool, False)
    body.refuse_others()
    queue.release(lease, not_before=not_before, reason=reason, uncount=uncount)
    return {}


def dead_letter(queue: Backend, body: Fields) -> Json:
    """The task is set aside for a person."""
    lease, reason = body.take("lease", read_lease), body.take("reason", read_text)
    body.refuse_others()
    queue.dead_letter(lease, reason=reason)
    return {}


def redrive(queue: Backend, body: Fields) -> Json:
    """The dead task waits again; false: no such dead task, or a push of its work would be refused."""
    id = body.take("id", read_text)
    body.refuse_others()
    return {"redriven": queue.redrive(id)}


def cancel(queue: Backend, body: Fields) -> Json:
    """The task is gone; false: no such task, or it is leased."""
    id = body.take("id", read_text)
    body.refuse_others()
    return {"cancelled": queue.cancel(id)}


def task(queue: Backend, query: Query) -> Json:
    """The task as it is now, or null."""
    id = query.take("id", read_text, "")
    query.refuse_others()
    found = queue.task(id)
    return {"task": None if found is None else write_task(found)}


def tasks(queue: Backend, query: Query) -> Json:
    """A page of what is in the queue now; `after` is the last task of the page before, as JSON, its work left out."""
    state = query.take("state", state_text, None)
    after = query.take("after", _after, None)
    limit = query.take("limit", whole_text, 100)
    query.refuse_others()
    if not 0 <= limit <= MOST:
        raise InvalidMessage(f"limit: expected 0 to {MOST}, got {limit}")
    return {"tasks": [write_task(each) for each in queue.tasks(state=state, after=after, limit=limit)]}


def count(queue: Backend, query: Query) -> Json:
    """How many tasks are in each state."""
    query.refuse_others()
    return write_counts(queue.count())


def next_due(queue: Backend, query: Query) -> Json:
    """When something scheduled falls due or a lease ends, or null."""
    query.refuse_others()
    return {"next_due": write_instant(queue.next_due())}


def names(_: Backend, query: Query) -> Json:
    """The queues of the location, with their counts."""
    query.refuse_others()
    return {"names": {name: write_counts(found) for name, found in parts().queues.counts()}}


def _looking(view: View) -> Callable[[], Response]:
    def make_answer() -> Response:
        query = Query(request)
        name = _name(query, others=True)
        return _json(view(parts().queues.get(name, create=may_write()), query))

    return _guard(make_answer)


def _changing(verb: Verb) -> Callable[[], Response]:
    def make_answer() -> Response:
        name, body = _name(Query(request)), body_of(request)
        queue = parts().queues.get(name)

        def act() -> Reply:
            return Reply(200, _text(verb(queue, body)))

        what = f"{verb.__name__} {name} {request.get_data(as_text=True)}"
        return _once(act, what, again=verb is claim_many)

    return _guard(make_answer)


def _guard(view: Callable[[], Response]) -> Callable[[], Response]:
    """The view, whose TypeErrors and ValueErrors are the sender's: arguments that the contract refuses."""

    def make_answer() -> Response:
        try:
            return view()
        except (TypeError, ValueError) as error:
            return answer(error)

    return make_answer


def _once(act: Callable[[], Reply], what: str, *, again: bool) -> Response:
    """The answer; the same as before where the request came before."""
    id = request.headers.get("Idempotency-Key")
    if id is not None and not (0 < len(id) <= LONGEST_ID and id.isprintable()):
        raise InvalidMessage(f"Idempotency-Key: expected 1 to {LONGEST_ID} printable characters")
    reply = parts().replies.once(id, what, act, again=again)
    return Response(reply.body, reply.status, mimetype="application/json")


def _claim(queue: Backend, lease_for: timedelta, wait: timedelta) -> tuple[Lease | None, bool]:
    """The lease, or None; and whether it was waited for as long as it may be in one request."""
    known = parts()
    wait = min(wait, known.settings.longest_wait)
    room = None
    if known.in_lines:
        wait = min(wait, timedelta(seconds=float(request.headers.get(LEFT.replace("_", "-"), "0"))))
    elif wait > NOW:
        room = known.polls
        if room is None or not room.acquire(blocking=False):
            return queue.claim(lease_for=lease_for), False
    try:
        gone = request.environ.get("waitress.client_disconnected", lambda: False)
        left = (known.settings.clock or SystemClock()).countdown(wait)
        while True:
            lease = queue.claim(lease_for=lease_for, wait=max(NOW, min(left(), _SLICE)))
            if gone():
                if lease is not None:  # its client was killed while it waited, and nobody would hear of the task
                    queue.release(lease, reason=lease.task.reason, uncount=True)
                return None, True
            if lease is not None or left() <= NOW:
                return lease, True
    finally:
        if room is not None:
            room.release()


def _remember(queue: Backend, lease: Lease) -> None:
    """A person may release it on its page."""
    text = _text({"token": lease.token, "expires": write_instant(lease.expires)})
    parts().replies.remember_lease(queue.name, lease.id, text)


def _name(query: Query, *, others: bool = False) -> str:
    name = query.take("name", read_text, parts().settings.name)
    if not others:
        query.refuse_others()
    return name


def _after(text: Any, where: str) -> Task | None:
    if not text:
        return None
    value = read_json(text)
    return read_task({"work": None, **value} if isinstance(value, dict) else value, where)


def _at_most(most: int, reader: Callable[[Any, str], Any]) -> Callable[[Any, str], list[Any]]:
    def read(value: Any, where: str) -> list[Any]:
        if isinstance(value, list) and len(value) > most:
            raise InvalidMessage(f"{where}: expected {most} at most, got {len(value)}; send several requests")
        return read_list(reader)(value, where)

    return read


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: Json) -> Response:
    return Response(_text(value), mimetype="application/json")
