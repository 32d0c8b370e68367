"""The server of `lowq serve`: waitress, with lines for the claims that wait and an end for clients that dawdle."""

from __future__ import annotations

import ipaddress
import resource
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from lowq.backend import BackendUnavailable, LowqError
from lowq.web.parts import Parts
from lowq.web.problems import refuse
from lowq.web.waiting import Dispatcher

THREADS = 8
"""Requests that are answered at once; claims that wait need none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the server clients may have, and for how long."""

    connections: int = 4000
    """Connections that are open at once. Where there are as many, those that ask for nothing make room."""

    idle: timedelta = timedelta(seconds=60)
    """A connection over which nothing comes for so long is closed."""

    headers: timedelta = timedelta(seconds=120)
    """A request whose headers have not come whole in this time is given up, however steadily they trickle."""

    window: timedelta = timedelta(seconds=120)
    slowest: int = 1024
    """A body must come, and an answer must be taken, with so many bytes a second, over each `window` of time."""


class NotAlone(LowqError, ValueError):
    """The address would be reached by other machines, and nothing says who may."""


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    path = ""
    """Of a request that cannot be read: waitress asks for it when such a client is gone, and fails without."""

    def parse_header(self, header_plus: bytes) -> None:
        """The headers are read; a line that is none is answered, as waitress does but for the address ``//[``."""
        try:
            super().parse_header(header_plus)
        except ParsingError:
            raise
        except ValueError as error:
            raise ParsingError(f"Bad URI: {error}") from None


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to a request that waitress refuses, in the words of the application."""

    def execute(self) -> None:
        """The answer is on its way, and the connection ends with it."""
        error = self.request.error
        media_type, text = refuse(self.request.path, error.code, error.body)
        body = text.encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", media_type))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser
    error_task_class = _Refusal
    begun = 0.0
    moved = 0
    """Bytes that came and went."""
    looked: tuple[float, int] | None = None
    """When a request or an answer was last seen to be under way for a window, and how much had moved then."""

    def readable(self) -> bool:
        """Nothing is read from a client that is gone: waitress would ask again and again, and be told so."""
        return bool(self.connected and super().readable())

    def received(self, data: bytes) -> bool:
        """Some of a request came; when it began is noted."""
        if self.request is None:
            self.begun = self.last_activity
        self.moved += len(data)
        return bool(super().received(data))

    def send_continue(self) -> None:
        """A client that keeps its body back is told to send it.

        One whose request is whole is not: waitress would wait for a body that never comes.
        """
        if self.request.completed:
            self.request.expect_continue = False
        else:
            super().send_continue()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Some of an answer went."""
        sent = int(super().send(data, do_close=do_close))
        self.moved += sent
        return sent

    def dawdles(self, now: float) -> bool:
        """Whether a request trickles in, or an answer trickles out, more slowly than is allowed."""
        request = self.request
        if request is not None and not request.headers_finished:
            return bool(now - self.begun > self.server.limits.headers.total_seconds())
        if request is None and not self.total_outbufs_len:
            self.looked = None
            return False
        if self.looked is None:
            self.looked = (now, self.moved)
        since, moved = self.looked
        if now - since <= self.server.limits.window.total_seconds():
            return False
        self.looked = (now, self.moved)
        return bool(self.moved - moved < self.server.limits.slowest * (now - since))


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    channel_class = _Channel

    def __init__(self, limits: Limits, *arguments: Any, **options: Any) -> None:
        self.limits = limits
        super().__init__(*arguments, **options)

    def readable(self) -> bool:
        """Whether somebody may connect; where all connections are taken, the oldest that ask for nothing end."""
        if len(self._map) >= self.adj.connection_limit:
            idle = [
                each for each in self.active_channels.values() if not each.requests and not each.total_outbufs_len
            ]
            idle.sort(key=lambda each: each.begun if each.request is not None else each.last_activity)
            for channel in idle[: max(1, self.adj.connection_limit // 20)]:
                channel.will_close = True
        return bool(super().readable())

    def maintenance(self, now: float) -> None:
        """Connections over which a request or an answer trickles are closed, like those over which nothing comes."""
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            if channel.dawdles(now):
                channel.handle_close()  # at once: `will_close` would send on while the client takes any


class Server:
    """Answers for an application at an address, from `run` to `stop`. `port` 0 takes a free one."""

    def __init__(
        self,
        app: Flask,
        host: str = "127.0.0.1",
        port: int = 5000,
        threads: int = THREADS,
        limits: Limits | None = None,
    ) -> None:
        self._parts: Parts = app.extensions["lowq"]
        if not is_local(host) and not self._parts.access.by_token and not self._parts.settings.no_auth:
            raise NotAlone(
                f"{host} is reached by other machines, and there are no tokens: set TOKENS in the settings, or say "
                "--no-auth where whoever reaches it may do everything"
            )
        limits = limits or Limits()
        descriptors = _more_descriptors(limits.connections + 500)
        shown = f"[{host}]" if ":" in host else host
        try:
            adjustments = Adjustments(
                listen=f"{shown}:{port}",
                threads=threads,
                ident="lowq",
                connection_limit=max(10, min(limits.connections, descriptors - 200)),
                channel_request_lookahead=1,
                channel_timeout=int(limits.idle.total_seconds()),
                cleanup_interval=min(5, int(limits.idle.total_seconds() / 4)),
                asyncore_use_poll=True,
                max_request_body_size=2
                * self._parts.settings.max_body,  # what is a little too long, the pages explain
                max_request_header_size=64 * 1024,
                backlog=2048,
            )
        except ValueError as error:
            raise NotAlone(f"{host}: {error}; expected an address or a name of this machine") from None
        self._dispatcher = Dispatcher(self._parts.settings.longest_wait)
        self._map: dict[int, Any] = {}
        self._stopping = False
        self._listeners: list[Any] = []
        try:
            for info in adjustments.listen:
                self._listeners.append(
                    _Listener(limits, app, self._map, dispatcher=self._dispatcher, adj=adjustments, sockinfo=info)
                )
        except OSError as error:
            wasyncore.close_all(self._map)
            raise BackendUnavailable(f"{shown}:{port}: {error.strerror}; is another server there already?") from None
        self._dispatcher.set_thread_count(threads)
        self._parts.in_lines = True
        self.url = f"http://{shown}:{self._listeners[0].effective_port}"

    def run(self) -> None:
        """Requests are answered until `stop`."""
        while not self._stopping:
            wasyncore.loop(timeout=1, map=self._map, use_poll=True, count=1)

    def stop(self, *_: object) -> None:
        """`run` ends soon; from any thread, or from a signal handler."""
        self._stopping = True
        with suppress(OSError):
            self._listeners[0].pull_trigger()

    def close(self) -> None:
        """What was being answered is answered, for five seconds at most; no connection and no queue is left open."""
        self._dispatcher.shutdown()
        for listener in self._listeners:
            for channel in list(listener.active_channels.values()):
                channel.handle_close()  # with the files that hold what was not sent
        wasyncore.close_all(self._map)
        self._parts.close()


def is_local(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # there is none such, or there can be none
        return False
    return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


def _more_descriptors(wanted: int) -> int:
    """How many files may be open, after asking for as many as are wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else soft
