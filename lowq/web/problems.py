"""What went wrong, as an answer: a problem detail (RFC 9457) for a program, a page for a person.

A traceback is in the log of the server only.
"""

from __future__ import annotations

import json
import logging

from flask import Response, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, default_exceptions

from lowq.backend import LowqError
from lowq.web.pages import page
from lowq.web.parts import is_for_programs
from lowq.wire import Json, write_error

_log = logging.getLogger("lowq.web")

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "This cannot be understood",
    401: "Who are you?",
    403: "That is not allowed",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "It is not so any more",
    410: "It is gone",
    413: "That is too much",
    415: "That is of the wrong kind",
    421: "Not this server",
    422: "That cannot be kept",
    431: "Those headers are too long",
    500: "Something is wrong in here",
    503: "The queue is away",
}

_HINTS = {
    413: "Send less at once, or let whoever runs this server raise MAX_BODY.",
    431: "Send less in the headers, such as cookies.",
    500: "The log of the server says more.",
    503: "Nothing more was done; try again in a moment.",
}


def answer(error: Exception) -> Response:
    """The answer for whatever a view raised; what is no fault of the request is in the log with its traceback."""
    body = _describe(error)
    status, for_program = body["status"], is_for_programs()
    if status == 500:
        _log.error("%s %s failed", request.method, request.path, exc_info=error)
    if for_program:
        response = Response(json.dumps(body), status, mimetype=MEDIA_TYPE)
    else:
        response = _page(status, body["detail"])
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(error.valid_methods)
    if status == 401 and (for_program or request.headers.get("Authorization")):
        response.headers["WWW-Authenticate"] = 'Bearer realm="lowq"'
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def answer_unexpected(error: Exception) -> Response:
    """The answer for what no view expects: a TypeError or ValueError is a fault in here then."""
    if isinstance(error, (HTTPException, LowqError)):
        return answer(error)
    return answer(RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__))


def refuse(path: str, status: int, detail: str) -> tuple[str, str]:
    """The media type and the text of the answer to a request that never comes to the application."""
    error = default_exceptions.get(status, BadRequest)(None if status == 413 else detail)
    error.code = status
    body = _describe(error)
    if is_for_programs(path):
        return MEDIA_TYPE, json.dumps(body)
    return "text/plain; charset=utf-8", f"{body['title']}\n\n{body['detail']}\n"


def _describe(error: Exception) -> Json:
    """The problem detail of an error."""
    if not isinstance(error, HTTPException):
        return write_error(error)
    status = error.code if error.code is not None and error.code >= 400 else 500
    title = TITLES.get(status, "Not done")
    detail = error.description or error.name
    if status in (413, 431):
        detail = f"{detail.rstrip('.')}. {_HINTS[status]}"
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def _page(status: int, detail: str) -> Response:
    if status == 401:
        return Response(page("login.html", ""), status, mimetype="text/html")
    title = TITLES.get(status, "Not done")
    return Response(
        page("error.html", "", title=title, detail=detail, todo=None if status == 413 else _HINTS.get(status)),
        status,
        mimetype="text/html",
    )
