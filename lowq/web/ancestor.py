"""The interface of the ancestor's worker: `GET /api/next` gives a task, `POST /api/complete` says that it is done.

The ``id`` it gives names the lease, not the task alone: a worker that comes too late can complete nothing that
another worker holds now. What is not completed within LEASE_FOR is given to the next that asks.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, abort, request

from lowq.backend import Lease
from lowq.web.parts import may_write, parts
from lowq.wire import InvalidMessage, read_json, write_instant


def blueprint() -> Blueprint:
    """The two, to be registered in an application."""
    made = Blueprint("ancestor", __name__, url_prefix="/api")
    made.add_url_rule("/next", view_func=take)
    made.add_url_rule("/complete", view_func=complete, methods=["POST"])
    return made


def take() -> dict[str, Any]:
    """The most urgent due task, leased for LEASE_FOR; null where none is due."""
    if not may_write():
        abort(403, "a token that may only look takes no task")
    if request.method == "HEAD":
        abort(405, "HEAD would take a task and show it to nobody; use GET")
    known = parts()
    lease = known.queues.get(known.settings.name).claim(lease_for=known.settings.lease_for)
    if lease is None:
        return {"status": "ok", "task": None}
    known.replies.remember_lease(
        known.settings.name, lease.id, json.dumps({"token": lease.token, "expires": write_instant(lease.expires)})
    )
    due = lease.task.not_before or lease.task.pushed_at
    return {
        "status": "ok",
        "task": {
            "id": f"{lease.token.encode().hex()}.{lease.id}",
            "payload": lease.work,
            "priority": lease.task.priority,
            "exectime": write_instant(due),
        },
    }


def complete() -> tuple[dict[str, Any], int] | Response:
    """The task is done and gone; 409 where it is not this worker's any more, or never was."""
    try:
        given = read_json(request.get_data())
        id = given["id"]
        if not isinstance(id, str):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidMessage('expected a JSON object {"id": …} with the id that /api/next gave') from None
    known = parts()
    queue = known.queues.get(known.settings.name)
    token, _, number = id.partition(".")
    if not number or (task := queue.task(number)) is None:
        abort(409, f"task {id[:100]!r} is unknown: it was completed already, or never given out")
    try:
        held = Lease(task, bytes.fromhex(token).decode(), known.now())
    except ValueError:
        abort(409, f"task {id[:100]!r} is unknown: it was never given out under this id")
    queue.ack(held)
    return {"status": "ok"}, 200
