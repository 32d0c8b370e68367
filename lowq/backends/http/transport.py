"""Requests to one server: over connections that stay open, again where a connection broke, and never across a fork.

A request that changes something carries an id (``Idempotency-Key``). Where its answer does not come, because the
connection was cut or the server went away, it is sent again with the same id until `patience` is over; the server
answers it then as it did before, and does nothing twice.
"""

from __future__ import annotations

import json
import socket
import ssl
import weakref
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode
from uuid import uuid4

from lowq import kernel
from lowq.backend import BackendUnavailable, InvalidLocation, InvalidWork, LowqError, NotAllowed, QueueClosed
from lowq.clock import SystemClock
from lowq.process.handlers import is_of_a_handler, let_through
from lowq.process.inherited import forget, look_after
from lowq.wire import Json, read_error, read_json

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_MOST_TIMEOUT = 86_400.0
_LEAST_TIMEOUT = 1.0
_ATTEMPTS = 3
"""A server that is silent is given up after this part of the patience, so that another connection can be tried."""

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "lowq"}


class _Connection:
    """An open connection, of the process that made it; dropped, it is closed."""

    def __init__(self, made: HTTPConnection) -> None:
        self.made = made
        self.pid = kernel.getpid()

    def close(self) -> None:
        """Nothing is left of it in this process."""
        self.made.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # where an exception came before it was made
            self.made.close()


class Transport:
    """Requests to the server at `host`; `base` is the path of its interface, `shown` how messages name it."""

    def __init__(
        self, *, secure: bool, host: str, base: str, shown: str, token: str, ca: str | None, patience: timedelta
    ) -> None:
        self.shown = shown
        self._host = host
        self._base = base
        self._patience = patience
        self._clock = SystemClock()
        self._headers = {**_HEADERS, **({"Authorization": f"Bearer {token}"} if token else {})}
        self._closed = False
        self._idle: list[_Connection] = []
        self._busy = weakref.WeakSet[_Connection]()
        """Connections on which somebody waits for an answer: kept by who does, and closed with that call."""
        self._context: ssl.SSLContext | None = None
        if secure:
            try:
                self._context = ssl.create_default_context(cafile=ca)
            except OSError as error:
                raise InvalidLocation(f"{shown}: the certificates in {ca} cannot be read: {error}") from None
        look_after(self)

    def get(self, verb: str, **query: str) -> Json:
        """The answer to a question."""
        return self._ask("GET", f"{self._base}/{verb}?{urlencode(query)}", None, {}, 0.0)

    def post(self, verb: str, body: Json, *, seconds: float = 0.0, **query: str) -> Json:
        """The answer to a change, which the server may take that many seconds to think about."""
        path = f"{self._base}/{verb}?{urlencode(query)}"
        text = json.dumps(body, separators=(",", ":"))
        return self._ask("POST", path, text.encode(), {"Idempotency-Key": uuid4().hex}, seconds)

    def close(self) -> None:
        """Every connection is closed, and who waits for an answer gets QueueClosed."""
        self._closed = True
        self._drop_idle()
        for each in list(self._busy):
            with suppress(OSError, AttributeError):
                each.made.sock.shutdown(socket.SHUT_RDWR)
        forget(self)

    def leave_to_parent(self) -> None:
        """In a forked child: its connections are closed here, which neither the server nor the parent notices."""
        inherited = [*self._idle, *self._busy]
        self._idle = []
        self._busy.clear()
        for connection in inherited:
            with suppress(OSError, ValueError):
                connection.close()

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def pause(self, seconds: float) -> None:
        """That long has passed."""
        self._clock.sleep(timedelta(seconds=seconds))

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Json:
        left = self._clock.countdown(self._patience)
        pause = 0.0
        while True:
            if self._closed:
                raise QueueClosed(f"this client of {self.shown} was closed; open the queue again")
            timeout = max(_LEAST_TIMEOUT, min(self._patience.total_seconds() / _ATTEMPTS, _MOST_TIMEOUT)) + seconds
            try:
                answer = self._read(*self._once(method, path, body, {**self._headers, **headers}, timeout))
            except (OSError, HTTPException, _AwayError) as error:
                if is_of_a_handler(error):
                    raise
                if (wrong := _not_secure(error)) is not None:
                    raise InvalidLocation(f"{self.shown}: {wrong}") from None
                if self._closed:
                    continue
                if left() <= timedelta(0):
                    raise BackendUnavailable(f"{self.shown} does not answer: {_words(error)}") from None
            else:
                return answer
            self.pause(min(pause, max(0.0, left().total_seconds())))
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float
    ) -> tuple[int, str, bytes]:
        """The status, the kind and the bytes of the answer."""
        connection = self._take(timeout)
        try:
            self._busy.add(connection)
            try:
                connection.made.request(method, path, body, headers)
            except (BrokenPipeError, ConnectionResetError) as error:
                let_through(error)  # and otherwise a server that takes no such body has said so before it closed
            answer = connection.made.getresponse()
            data = answer.read()
            self._busy.discard(connection)
        except BaseException:  # also of a signal's handler; and where that cuts this off, the connection is dropped
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
            if self._closed:
                self._drop_idle()
        return answer.status, answer.headers.get_content_type(), data

    def _take(self, timeout: float) -> _Connection:
        """A connection that nobody else uses."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.pid == kernel.getpid() and connection.made.sock is not None:
                connection.made.timeout = timeout
                connection.made.sock.settimeout(timeout)
                return connection
        made: HTTPConnection
        if self._context is None:
            made = HTTPConnection(self._host, timeout=timeout)
        else:
            made = HTTPSConnection(self._host, timeout=timeout, context=self._context)
        connection = _Connection(made)
        made.connect()
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read(self, status: int, kind: str, data: bytes) -> Json:
        """The answer. Raises the error that it tells of, and _AwayError where it comes from no server of ours."""
        if status == 413:
            raise InvalidWork(f"work: larger than {self.shown} takes; whoever runs it can raise MAX_BODY")
        if not kind.endswith("json"):
            if status in (200, 404, 405) or 300 <= status < 400:
                raise InvalidLocation(
                    f"{self.shown}: another program answers there; expected a lowq server's address"
                )
            raise _AwayError(f"it answered {status} {kind}")
        value = read_json(data)
        if status == 200 and isinstance(value, dict):
            return value
        error = read_error(value)
        if isinstance(error, QueueClosed):
            raise _AwayError(str(error))  # the server is about to end
        if type(error) is not LowqError or status >= 500:
            raise error
        if status == 401:
            raise InvalidLocation(
                f"{self.shown}: {error}; set LOWQ_TOKEN in the environment, or give token= to open_backend"
            )
        if status == 403:
            raise NotAllowed(f"{self.shown}: {error}")
        raise InvalidLocation(f"{self.shown}: {error}")


class _AwayError(Exception):
    """There is no server of ours now, and there may be one in a moment."""


def _not_secure(error: Exception) -> str | None:
    """Why TLS with this server cannot begin, however often it is tried; None: something else went wrong."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {error.verify_message}; where it is right, name a file that has it, or "
            "its authority's: ca=/etc/ca.pem"
        )
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    ):
        return "it does not answer with TLS; is it meant to be http://?"
    return None


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
