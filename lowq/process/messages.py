"""Messages between a process and its forked child: pickled objects through a pipe, each with its length before it.

A child may wait for its parent (`send`, `receive`). A parent never waits for a child, which may be suspended or may
not read: what it says waits in an `Outbox`, what it hears is gathered in an `Inbox`.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct(">Q")
_PART = 1 << 20


def send(descriptor: int, message: object) -> None:
    """The whole message was written. Raises BrokenPipeError where nobody can read it any more."""
    rest = memoryview(_frame(message))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """The next message. Raises EOFError where the other side is gone, also in the middle of a message."""
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    return pickle.loads(_read(descriptor, length))


class Outbox:
    """Messages on their way into a pipe that may be full; what nobody can read any more is dropped."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._rest = memoryview(b"")

    @property
    def waiting(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._rest)

    def put(self, message: object) -> None:
        """The message is on its way."""
        self._rest = memoryview(bytes(self._rest) + _frame(message))
        self.flush()

    def flush(self) -> None:
        """What the pipe takes now was written."""
        with suppress(BlockingIOError):
            while self._rest:
                try:
                    self._rest = self._rest[os.write(self.descriptor, self._rest) :]
                except BrokenPipeError:
                    self._rest = memoryview(b"")


class Inbox:
    """Messages as they come out of a pipe, whole ones only."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.closed = False
        """Whether the other side is gone, or what it wrote was no message: nothing more will come."""
        self._data = bytearray()

    def take(self) -> list[Any]:
        """The messages that are whole now."""
        found: list[Any] = []
        if self.closed:
            return found
        with suppress(BlockingIOError):
            while part := os.read(self.descriptor, _PART):
                self._data += part
                if len(part) < _PART and self._whole():
                    break
            else:
                self.closed = True
        try:
            while self._whole():
                end = _LENGTH.size + self._length()
                found.append(pickle.loads(self._data[_LENGTH.size : end]))
                del self._data[:end]
        except Exception:  # what a handler wrote into a pipe that is not its own
            self.closed = True
        return found

    def _whole(self) -> bool:
        return len(self._data) >= _LENGTH.size and len(self._data) - _LENGTH.size >= self._length()

    def _length(self) -> int:
        (length,) = _LENGTH.unpack_from(self._data)
        return int(length)


class Slate:
    """Memory that a process and its forked child share: one message, which needs no descriptor."""

    _SIZE = 1 << 18

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._SIZE)

    def write(self, message: object) -> bool:
        """Whether the message stands there now; it may be too long."""
        data = _frame(message)
        if len(data) > self._SIZE:
            return False
        self._memory[_LENGTH.size : len(data)] = data[_LENGTH.size :]
        self._memory[: _LENGTH.size] = data[: _LENGTH.size]
        return True

    def read(self) -> list[Any]:
        """The message, if there is one."""
        (length,) = _LENGTH.unpack_from(self._memory)
        if not length:
            return []
        with suppress(Exception):
            return [pickle.loads(self._memory[_LENGTH.size : _LENGTH.size + length])]
        return []


class Flags:
    """Memory that a process and its forked child share: a few flags, all down at first."""

    def __init__(self, number: int) -> None:
        self._memory = mmap.mmap(-1, number)
        self._number = number

    def __getitem__(self, flag: int) -> bool:
        return self._memory[flag] != 0

    def __setitem__(self, flag: int, up: bool) -> None:
        self._memory[flag] = up

    def lower(self) -> None:
        """All flags are down."""
        self._memory[:] = bytes(self._number)


def _frame(message: object) -> bytes:
    data = pickle.dumps(message)
    return _LENGTH.pack(len(data)) + data


def _read(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = os.read(descriptor, min(length - len(data), _PART))
        if not part:
            raise EOFError("the other side of the pipe is gone")
        data += part
    return bytes(data)
