"""Calls to one server: over lines that stay open, again where a connection broke, and never across a fork.

A call that changes something has the name of its line and a number. Where its answer does not come, because the
connection was cut or the server went away, it is sent again under the same number until `patience` is over; the
server answers it then as it did before, and does nothing twice.

A line is used by one call at a time, and is put back only when its answer was read: one whose call was cut off by an
exception, wherever that came from, is dropped and so closed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from lowq import kernel
from lowq.backend import LowqError, QueueClosed
from lowq.backends.redis.address import Address
from lowq.backends.redis.errors import Away, Moved, translate, unavailable
from lowq.backends.redis.line import Facts, Line
from lowq.backends.redis.scripts import Script
from lowq.clock import SystemClock
from lowq.process.handlers import let_through, let_through_hidden
from lowq.process.inherited import forget, look_after

Arguments = Callable[[Line, Facts], list[bytes]]
"""What is said in a call, which depends on the line that it is made on: keys and arguments after one another."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_LEAST_TIMEOUT = 1.0
_ATTEMPTS = 3
"""A server that is silent is given up after this part of the patience, so that another connection can be tried."""
_MOVES = 16


class Transport:
    """Calls to the server at `address`; `patterns` are the keys that are ours, as messages name them."""

    def __init__(self, address: Address, *, patience: timedelta, patterns: str) -> None:
        self.address = self._home = address
        self.opening = True
        """Whether the client is still being opened: then what the URL says is to blame for a refusal."""
        self._patience = patience
        self._patterns = patterns
        self._clock = SystemClock()
        self._closed = False
        self._idle: list[Line] = []
        self._lines: dict[int, weakref.ref[Line]] = {}
        look_after(self)

    def run(self, script: Script, keys: int, arguments: Arguments) -> Any:
        """What the script answers to a call, of whose arguments the first `keys` are keys."""
        count = b"%d" % keys

        def call(line: Line, facts: Facts, timeout: float) -> Any:
            from redis import exceptions

            said = arguments(line, facts)
            try:
                return line.ask([b"EVALSHA", script.digest, count, *said], timeout)
            except exceptions.NoScriptError:
                return line.ask([b"EVAL", script.text, count, *said], timeout)

        return self._ask(call, 0.0)

    def command(self, *parts: bytes, seconds: float = 0.0) -> Any:
        """The answer to a command, which the server may take that many seconds to think about."""
        return self._ask(lambda line, _, timeout: line.ask(list(parts), timeout), seconds)

    def anywhere(self, *parts: bytes) -> Any:
        """The answer to a command whose key is not the queue's, so that another node of a cluster may have it."""
        address = self.address
        try:
            return self.command(*parts)
        finally:
            if self.address != address:
                self.address = address
                self._let_go_of_idle()

    def facts(self) -> Facts:
        """What the server says of itself."""
        return self._ask(lambda _, facts, __: facts, 0.0)  # type: ignore[no-any-return]

    def optional(self, *parts: bytes) -> Any:
        """The answer to a command that a server may refuse; None where it does."""
        from redis import exceptions

        def call(line: Line, _: Facts, timeout: float) -> Any:
            try:
                return line.ask(list(parts), timeout)
            except exceptions.ConnectionError:
                raise
            except exceptions.ResponseError:
                return None

        return self._ask(call, 0.0)

    def close(self) -> None:
        """Every connection is closed, and who waits for an answer gets QueueClosed."""
        self._closed = True
        self._let_go_of_idle()
        for each in list(self._lines.values()):
            line = each()
            if line is not None and line.pid == kernel.getpid():
                line.wake()
        forget(self)

    def leave_to_parent(self) -> None:
        """In a forked child: its connections are closed here, which neither the server nor the parent notices."""
        lines, self._lines, self._idle = list(self._lines.values()), {}, []
        for known in lines:
            line = known()
            if line is not None:
                with suppress(OSError, ValueError):
                    line.close()
                line.rename()

    @property
    def closed(self) -> bool:
        """Whether this client was closed."""
        return self._closed

    def _let_go_of_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _ask(self, call: Callable[[Line, Facts, float], Any], seconds: float) -> Any:
        left = self._clock.countdown(self._patience)
        line = self._take()
        line.number += 1
        pause, moves = 0.0, 0
        target: Moved | None = None
        while True:
            if self._closed:
                line.close()
                raise QueueClosed(f"this client of {self.address} was closed; open the queue again")
            answer, error = self._once(line, call, left().total_seconds(), seconds, target)
            target = None
            if error is None:
                if self._closed or line.address != self.address:
                    line.close()
                else:
                    self._idle.append(line)
                return answer
            if self._closed:
                continue
            if isinstance(error, Moved) and moves < _MOVES:
                moves += 1
                line.close()
                if error.asking:  # this call alone goes there: the queue is just being moved
                    target = error
                else:
                    self.address = self.address.at(error.host, error.port)
                continue
            if not isinstance(error, Away):
                if line.made is not None and isinstance(error, LowqError):
                    self._idle.append(line)
                raise error
            line.close()
            if left() <= timedelta(0):
                raise unavailable(self.address, error)
            self.address = self._home  # the node that a cluster named may be gone
            self._clock.sleep(timedelta(seconds=min(pause, max(0.0, left().total_seconds()))))
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _once(
        self,
        line: Line,
        call: Callable[[Line, Facts, float], Any],
        left: float,
        seconds: float,
        target: Moved | None,
    ) -> tuple[Any, Exception | None]:
        """The answer, or the error that is to be raised: by the caller, so that it carries nothing of redis-py's."""
        whole = self._patience.total_seconds()
        timeout = max(min(_LEAST_TIMEOUT, whole), whole / _ATTEMPTS)
        timeout = max(0.05, min(timeout, left if left > 0 else timeout))
        try:
            if line.made is None or line.facts is None:
                line.open(self.address if target is None else self.address.at(target.host, target.port), timeout)
                if target is not None:
                    line.ask([b"ASKING"], timeout)
            assert line.facts is not None
            return call(line, line.facts, timeout + seconds), None
        except LowqError as error:
            return None, error
        except (OSError, AttributeError) as error:  # the latter: another thread closed the connection
            line.close()
            let_through(error)
            return None, Away(str(error))
        except Exception as error:
            from redis import exceptions

            if not isinstance(error, exceptions.RedisError):
                line.close()
                raise
            if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
                line.close()
                let_through_hidden(error)
            found = translate(error, self.address, opening=self.opening, patterns=self._patterns)
            if "replica" in str(found) or isinstance(found, Away | Moved):
                line.close()
            return None, found

    def _take(self) -> Line:
        """A line that nobody else uses."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if line.address == self.address and line.is_fresh():
                return line
            line.close()
        line = Line()
        self._lines[id(line)] = weakref.ref(line, partial(_forget, self._lines, id(line)))
        return line


def _forget(lines: dict[int, weakref.ref[Line]], mark: int, _: object) -> None:
    lines.pop(mark, None)
