"""Messages between a process and its forked child: pickled objects through a pipe, each with its length before it."""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct(">Q")


def send(descriptor: int, message: object) -> None:
    """The whole message was written. Raises BrokenPipeError where nobody can read it any more."""
    data = pickle.dumps(message)
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """The next message. Raises EOFError where the other side is gone, also in the middle of a message."""
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    return pickle.loads(_read(descriptor, length))


def _read(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = os.read(descriptor, min(length - len(data), 1 << 20))
        if not part:
            raise EOFError("the other side of the pipe is gone")
        data += part
    return bytes(data)
