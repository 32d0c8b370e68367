"""The WSGI application: its parts put together, and what holds for every request and every answer.

``FLASK_APP=lowq.web flask run`` and any WSGI server take `create_app`; `lowq serve` is the same application on a
server of its own (`lowq.web.server`).
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, Request, Response, abort, g, request, session
from flask.sessions import SecureCookieSessionInterface

from lowq.location import Location
from lowq.web import ancestor, api, forms, metrics, pages, problems
from lowq.web.access import Access, token_in
from lowq.web.parts import Parts, is_for_programs
from lowq.web.queues import Queues
from lowq.web.replies import Replies
from lowq.web.settings import Settings, load

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_UNGUARDED = ("static", "pages.login", "forms.login")
"""What can be reached without a token: what the page that asks for one is made of."""

_FOR_READERS = (*_UNGUARDED, "forms.logout", "api.open")
"""What a sender that may only look may post: `open` then makes no queue."""


class _Request(Request):
    max_form_parts = 100


class _Cookies(SecureCookieSessionInterface):
    def get_cookie_secure(self, _: Flask) -> bool:
        return request.is_secure


def create_app(settings: Settings | None = None, **changes: Any) -> Flask:
    """The application for these settings, by default those that LOWQ_SETTINGS names; `changes` by lower-case names.

    The queue is opened, and made where it is new. Raises SettingsError, and what `open_backend` raises.
    """
    if settings is None:
        settings = load(**changes)
    elif changes:
        raise TypeError("create_app: give settings or changes, not both")
    app = Flask("lowq.web")
    app.request_class = _Request
    app.session_interface = _Cookies()
    app.config.update(
        SECRET_KEY=settings.secret_key or secrets.token_bytes(32),
        SESSION_COOKIE_NAME="lowq",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=settings.max_body,
        MAX_FORM_MEMORY_SIZE=settings.max_body,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    queues = Queues(str(settings.location), settings.clock, create=not settings.read_only)
    queues.get(settings.name)
    replies = Replies(_requests_file(settings, queues.location), settings.keep_requests)
    access = Access(settings)
    app.extensions["lowq"] = Parts(settings, queues, replies, access)
    app.before_request(lambda: _admit(settings, access))
    app.after_request(_guard)
    for part in (pages.blueprint(), forms.blueprint(), api.blueprint(), ancestor.blueprint(), metrics.blueprint()):
        app.register_blueprint(part)
    app.register_error_handler(Exception, problems.answer_unexpected)
    return app


def _requests_file(settings: Settings, location: Location) -> str:
    if settings.requests_file == "memory" or settings.read_only:
        return ":memory:"
    if settings.requests_file:
        return os.path.abspath(settings.requests_file)
    return f"{location.place}-requests" if location.scheme in ("sqlite", "files") else ":memory:"


def _admit(settings: Settings, access: Access) -> None:
    """The request is meant for this server, and `g.right` is what its sender may do. Aborts otherwise."""
    if not access.knows_host(request.host):
        abort(421, f"this server is not known as {request.host!r}; who runs it can add that name to HOSTS")
    programs = is_for_programs()
    changes = request.method not in ("GET", "HEAD", "OPTIONS")
    if (changes or programs) and (
        request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        or not access.knows_origin(request.headers.get("Origin", f"://{request.host}"), request.host)
    ):
        abort(403, "another site's page sent this request; open the page of this server instead")
    g.right = _right(access)
    if g.right is None and request.endpoint not in _UNGUARDED:
        if not access.by_token:
            abort(403, "this server has no tokens, and so answers this machine only; set TOKENS, or NO_AUTH = True")
        if programs or request.headers.get("Authorization"):
            abort(401, "a token is needed: send the header Authorization: Bearer TOKEN")
        abort(401, "log in with a token")
    if settings.read_only and g.right == "write":
        g.right = "read"
    if changes and g.right == "read" and request.endpoint not in _FOR_READERS:
        abort(403, "this token may only look" if access.by_token else "this server is read-only")


def _right(access: Access) -> str | None:
    if not access.by_token:
        sender = request.environ.get("REMOTE_ADDR", "")
        return "write" if access.open_to(sender, set(request.headers.keys())) else None
    token = token_in(request.headers.get("Authorization", ""))
    if token is not None:
        return access.right_of(token)
    if request.path.startswith("/api/"):
        return None  # a browser sends its cookie by itself, whoever asks it to
    return access.right_of_mark(str(session.get("token", "")))


def _guard(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.endpoint != "static":
        headers["Cache-Control"] = "no-store"
    return response
