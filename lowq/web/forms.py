"""The forms: a new task, and what is done to one. Each carries the mark of the browser that was shown it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any

from flask import Blueprint, abort, flash, redirect, request, session, url_for
from werkzeug.wrappers import Response

from lowq.backend import InvalidWork, Lease, LeaseLost, State, Work
from lowq.clock import to_micros
from lowq.rules.canonical import check_key, encode
from lowq.rules.entry import MAX_PRIORITY, MIN_PRIORITY
from lowq.web.access import mark_of, new_mark
from lowq.web.pages import form_mark, page, queue_name, the_task
from lowq.web.parts import may_write, parts

_TASK_FIELDS = ("payload", "format", "priority", "exectime", "key")
_NUMBER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


def blueprint() -> Blueprint:
    """The forms' targets, to be registered in an application."""
    made = Blueprint("forms", __name__)
    for rule, view in (
        ("/new", new),
        ("/delete", cancel),
        ("/redrive", redrive),
        ("/release", release),
        ("/login", login),
        ("/logout", logout),
    ):
        made.add_url_rule(rule, view_func=view, methods=["POST"])
    return made


def new() -> Response | tuple[str, int]:
    """The task is pushed; or, where a field is wrong, nothing is, and the form says what to do."""
    values = _fields(("name", *_TASK_FIELDS), optional=("format", "key"))
    name = queue_name(request.form)
    faults: dict[str, str] = {}
    format = values["format"] or "json"
    work = _check(faults, "payload", lambda: _payload(values["payload"], format))
    if format not in ("json", "text"):
        faults["format"] = "Choose JSON or text."
    priority = _check(faults, "priority", lambda: _priority(values["priority"]))
    not_before = _check(faults, "exectime", lambda: _instant(values["exectime"]))
    key = values["key"] or None
    if key is not None:
        _check(faults, "key", lambda: check_key(key))
    if faults:
        shown = {field: values[field] for field in _TASK_FIELDS}
        return (
            page(
                "error.html",
                name,
                title="The task was not added",
                detail="Nothing was kept, because of what is marked below.",
                again=True,
                values=shown,
                faults=faults,
            ),
            400,
        )
    pushed = parts().queues.get(name, create=False).push(work, key=key, priority=priority, not_before=not_before)
    if pushed.added:
        flash(f"Task {pushed.id} was added.")
    else:
        flash(f"Not added: task {pushed.id} in the queue is equal to it, and an equal task is kept once.")
    return redirect(url_for("pages.index", name=name), 303)


def cancel() -> Response:
    """The task is gone, if no worker holds it."""
    name, id = _about_a_task()
    if not parts().queues.get(name, create=False).cancel(id):
        found = the_task(name, id)
        abort(409, f"task {found.id} is {found.state} now: a worker holds it, and it cannot be deleted")
    flash(f"Task {id} was deleted.")
    return redirect(url_for("pages.tasks", name=name), 303)


def redrive() -> Response:
    """The dead task waits again."""
    name, id = _about_a_task()
    if not parts().queues.get(name, create=False).redrive(id):
        found = the_task(name, id)
        if found.state is not State.DEAD:
            abort(409, f"task {found.id} is {found.state} now, not dead")
        abort(409, f"an equal task stands in the queue already; delete it, or task {found.id}, first")
    flash(f"Task {id} waits again.")
    return redirect(url_for("pages.task", name=name, id=id), 303)


def release() -> Response:
    """The task is taken from its worker and waits again, where the worker claimed it through this server."""
    name, id = _about_a_task()
    found = the_task(name, id)
    kept = parts().replies.lease(name, id)
    if kept is None:
        abort(409, f"the worker that holds task {id} did not claim it through this server; wait for its lease to end")
    lease = json.loads(kept)
    expires = datetime.fromisoformat(lease["expires"])
    try:
        parts().queues.get(name, create=False).release(
            Lease(found, lease["token"], expires), reason="released by a person on the web page"
        )
    except LeaseLost as error:
        abort(409, str(error))
    flash(f"Task {id} was released and waits again.")
    return redirect(url_for("pages.task", name=name, id=id), 303)


def login() -> Response | tuple[str, int]:
    """The browser is known by a cookie, if the token is right."""
    values = _fields(("token",))
    if parts().access.right_of(values["token"]) is None:
        return page("login.html", "", fault="This token is not known here."), 401
    session.clear()
    session["token"] = mark_of(values["token"])
    session["csrf"] = new_mark()
    return redirect(url_for("pages.index"), 303)


def logout() -> Response:
    """The browser is not known any more."""
    _fields(())
    session.clear()
    return redirect(url_for("pages.login"), 303)


def _about_a_task() -> tuple[str, str]:
    values = _fields(("name", "id"))
    if not may_write():
        abort(403, "this token may only look")
    return queue_name(request.form), values["id"]


def _fields(expected: Collection[str], optional: Collection[str] = ()) -> dict[str, str]:
    """The fields of the form, each given once, from a page of ours. Aborts otherwise."""
    if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        abort(415, "this is for the forms of the pages; programs use /api/v1")
    mark = request.form.get("csrf", "")
    if not compare_digest(mark.encode("utf-8", "surrogatepass"), form_mark().encode()):
        abort(403, "this form is out of date, or not from this server's page; load its page again, and send it then")
    found: dict[str, str] = {}
    for field in (*expected, *(name for name in request.form if name not in (*expected, "csrf"))):
        given = request.form.getlist(field)
        if field not in expected or request.files:
            abort(400, f"{field[:50]!r}: this form has no such field; load its page again")
        if len(given) != 1 and not (field in optional and not given):
            abort(400, f"{field}: expected once in the form, found {len(given)} times; load its page again")
        found[field] = given[0] if given else ""
    return found


def _check(faults: dict[str, str], field: str, read: Any) -> Any:
    try:
        return read()
    except (ValueError, TypeError) as error:
        faults[field] = str(error)
        return None


def _payload(text: str, format: str) -> Work:
    if format == "text":
        work: Work = text.replace("\r\n", "\n")
    else:
        if not text.strip():
            raise ValueError('Nothing was written; write a JSON value, such as {"mail": 1}.')
        try:
            work = json.loads(text, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"Not JSON: {error.msg} in line {error.lineno}, column {error.colno}. Correct it, or choose “text”."
            ) from None
        except RecursionError:
            raise ValueError("Nested too deeply.") from None
    try:
        encode(work)
    except InvalidWork as error:
        raise ValueError(f"This cannot be kept: {error}.") from None
    return work


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON; write null, or a number.")


def _priority(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()) or not MIN_PRIORITY <= int(text) <= MAX_PRIORITY:
        raise ValueError(
            f"Write a whole number from {MIN_PRIORITY:,} to {MAX_PRIORITY:,}, such as 100; found {text[:40]!r}."
        )
    return int(text)


def _instant(text: str) -> datetime | None:
    if not text.strip():
        return None
    hint = "Write a time such as 2030-01-31T12:00 (UTC) or 2030-01-31T12:00+01:00, or leave it empty for now"
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{hint}; found {text[:40]!r}.") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        to_micros(found)
    except (ValueError, OverflowError):
        raise ValueError(f"{hint}; {text[:40]!r} is outside the years 1970 to 9999.") from None
    return found
