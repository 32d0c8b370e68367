"""The description of `/api/v1` in OpenAPI 3.1, served at `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

MOST = 10_000
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": "number", "minimum": 0, "description": "seconds, exact to the microsecond"}
_INSTANT: Schema = {
    "type": "string",
    "format": "date-time",
    "description": "RFC 3339, 1970 to 9999, six digits of a second at most",
    "example": "2030-01-01T12:00:00.123456Z",
}
_PRIORITY: Schema = {
    "type": "integer",
    "minimum": -(2**31),
    "maximum": 2**31 - 1,
    "default": 0,
    "description": "higher comes first",
}
_STATE: Schema = {"type": "string", "enum": ["scheduled", "ready", "leased", "dead"]}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200, "description": "printable characters"}
_HEADERS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_WORK: Schema = {"description": "any JSON value; nested 200 deep at most"}
_DEDUPE: Schema = {"type": "string", "enum": ["until_done", "until_claimed", "off"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(needed: dict[str, Schema], more: dict[str, Schema] | None = None, *, closed: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": {**needed, **(more or {})}, "required": list(needed)}
    if closed:
        made["additionalProperties"] = False
    return made


def _request_schema(needed: dict[str, Schema], more: dict[str, Schema] | None = None) -> Schema:
    return _object(needed, more, closed=True)


def _list(schema: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": schema, **({} if most is None else {"maxItems": most})}


_SCHEMAS: dict[str, Schema] = {
    "Item": _request_schema(
        {"work": _WORK},
        {
            "key": _or_null({"type": "string", "description": "what makes works equal, instead of the work"}),
            "priority": _PRIORITY,
            "not_before": _or_null(_INSTANT),
            "headers": _HEADERS,
        },
    ),
    "Pushed": _object({"id": _TEXT, "added": _FLAG}),
    "Task": _object(
        {
            "id": _TEXT,
            "work": _WORK,
            "key": _or_null(_TEXT),
            "priority": _PRIORITY,
            "not_before": _or_null(_INSTANT),
            "attempts": {"type": "integer", "minimum": 0},
            "state": _STATE,
            "reason": _or_null(_TEXT),
            "pushed_at": _INSTANT,
            "headers": _HEADERS,
        },
        {"damaged": {"type": "string", "description": "what stands in the storage where the work cannot be read"}},
    ),
    "Lease": _object({"task": _ref("Task"), "token": _TEXT, "expires": _INSTANT}),
    "Held": {
        **_request_schema({"id": _TEXT, "token": _TEXT}, {"expires": _INSTANT}),
        "description": "a lease, by the id of its task and its token",
    },
    "Counts": _object({state: {"type": "integer", "minimum": 0} for state in _STATE["enum"]}),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
    ),
    "Nothing": _object({}),
}

_LEASE = _object({"lease": _or_null(_ref("Lease"))})
_FOR: dict[str, Schema] = {"lease_seconds": {**_SECONDS, "exclusiveMinimum": 0}}

_POSTS: dict[str, tuple[str, Schema, Schema, bool]] = {
    "open": (
        "What the queue is; it is made where it is new.",
        _request_schema({}, {"dedupe": _or_null(_DEDUPE), "create": _FLAG}),
        _object({"name": _TEXT, "dedupe": _DEDUPE, "promises": _list(_TEXT), "now": _INSTANT, "version": _TEXT}),
        False,
    ),
    "push": ("The work is kept, or an equal one already stood.", _ref("Item"), _ref("Pushed"), True),
    "push_many": (
        "All of the items are kept or none.",
        _request_schema({"items": _list(_ref("Item"), MOST)}),
        _object({"pushed": _list(_ref("Pushed"))}),
        True,
    ),
    "adopt": (
        "All of the tasks, which another queue had, are kept or none, with their attempts, reason and pushed_at, "
        "the dead ones dead, under ids of this queue.",
        _request_schema({"tasks": _list(_ref("Task"), MOST)}),
        _object({"pushed": _list(_ref("Pushed"))}),
        True,
    ),
    "claim": (
        "The most urgent due task is leased to the sender; null: none was due. With `wait_seconds` it waits for one; "
        "the server may answer earlier, and `again_seconds` is then how long to pause before asking again.",
        _request_schema({}, _FOR),
        _object({"lease": _or_null(_ref("Lease")), "again_seconds": _or_null(_SECONDS)}),
        False,
    ),
    "claim_many": (
        "The most urgent due tasks are leased to the sender, in claim order.",
        _request_schema({"limit": {"type": "integer", "minimum": 0, "maximum": MOST}}, _FOR),
        _object({"leases": _list(_ref("Lease"))}),
        True,
    ),
    "extend": (
        "The task is held for that long from now, under the same token.",
        _request_schema({"lease": _ref("Held"), **_FOR}),
        _object({"lease": _ref("Lease")}),
        True,
    ),
    "ack": (
        "The task is done and gone; with `claim_seconds` the next one is claimed in the same transaction.",
        _request_schema({"lease": _ref("Held")}, {"claim_seconds": _or_null(_SECONDS)}),
        _LEASE,
        True,
    ),
    "ack_many": (
        "Each task whose lease is still the sender's is done and gone; up to `claim` next ones are claimed.",
        _request_schema(
            {"leases": _list(_ref("Held"), MOST)},
            {"claim": {"type": "integer", "minimum": 0, "maximum": MOST}, "lease_seconds": _or_null(_SECONDS)},
        ),
        _object({"lost": _list(_or_null(_TEXT)), "claimed": _list(_ref("Lease"))}),
        True,
    ),
    "release": (
        "The task waits again in its old place.",
        _request_schema(
            {"lease": _ref("Held")},
            {"not_before": _or_null(_INSTANT), "reason": _or_null(_TEXT), "uncount": _FLAG},
        ),
        _ref("Nothing"),
        True,
    ),
    "dead_letter": (
        "The task is set aside for a person, and never claimed until redriven.",
        _request_schema({"lease": _ref("Held"), "reason": _TEXT}),
        _ref("Nothing"),
        True,
    ),
    "redrive": (
        "The dead task waits again with attempts 0; false: no such dead task, or a duplicate.",
        _request_schema({"id": _TEXT}),
        _object({"redriven": _FLAG}),
        True,
    ),
    "cancel": (
        "The task is gone; false: no such task, or it is leased.",
        _request_schema({"id": _TEXT}),
        _object({"cancelled": _FLAG}),
        True,
    ),
}

_GETS: dict[str, tuple[str, dict[str, Schema], Schema]] = {
    "task": ("The task as it is now, or null.", {"id": _TEXT}, _object({"task": _or_null(_ref("Task"))})),
    "tasks": (
        "What is in the queue now: ready in claim order, then scheduled, leased, dead. `after` is the last task of "
        "the page before, as JSON; its work may be left out.",
        {"state": _STATE, "after": _TEXT, "limit": {"type": "integer", "minimum": 0, "maximum": MOST}},
        _object({"tasks": _list(_ref("Task"))}),
    ),
    "count": ("How many tasks are in each state.", {}, _ref("Counts")),
    "next_due": (
        "When something scheduled falls due or a lease ends, or null.",
        {},
        _object({"next_due": _or_null(_INSTANT)}),
    ),
    "names": (
        "The queues of the location, with their counts.",
        {},
        _object({"names": {"type": "object", "additionalProperties": _ref("Counts")}}),
    ),
}

_PROBLEMS = {
    "400": "what was sent is not what it should be",
    "401": "a token is needed",
    "403": "this token may not do that",
    "404": "there is no such queue",
    "409": "the lease is the sender's no more; nothing was changed",
    "410": "the queue was deleted or replaced",
    "413": "the body is too long",
    "415": "the body is not JSON",
    "421": "the server is not known by that name",
    "422": "the work cannot be kept",
    "503": "the storage cannot be used now",
}


def document(version: str) -> Schema:
    """The document."""
    paths: Schema = {}
    for verb, (summary, body, answer, needed) in _POSTS.items():
        parameters = [_query("name", _NAME)]
        if verb == "claim":
            parameters.append(_query("wait_seconds", _SECONDS))
        if verb != "open":
            parameters.append(_key())
        content = {"content": {"application/json": {"schema": body}}, "required": needed}
        paths[f"/{verb}"] = {"post": {**_operation(verb, summary, parameters, answer), "requestBody": content}}
    for verb, (summary, query, answer) in _GETS.items():
        parameters = [_query(each, schema) for each, schema in {"name": _NAME, **query}.items()]
        paths[f"/{verb}"] = {"get": _operation(verb, summary, parameters, answer)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lowq",
            "version": version,
            "description": "A task queue: each verb of its contract. An error is a problem detail (RFC 9457), whose "
            "type is urn:lowq:error: and the name of the error.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(verb: str, summary: str, parameters: list[Schema], answer: Schema) -> Schema:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        "operationId": verb,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": answer}}},
            **{status: {"description": words, "content": problem} for status, words in _PROBLEMS.items()},
        },
    }


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _key() -> Schema:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "An id of the sender's for this request: sent again, it is answered as before and not done "
        "again. Kept for an hour.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    }
