"""The last changes of a directory, in a file of fixed size: how clients follow each other, and what a kill cut off.

Who changes the directory writes the renames here before doing them, and afterwards that they are done; all of it
while holding the directory's lock. So whoever gets the lock next knows which changes it has not seen, and finishes
those of a holder that was killed between the two. Who was away for longer than it remembers lists the directory.

Nothing here is true after a loss of power, or needed: the directory is. The header names the boot of the machine that
wrote it, and is worth nothing in another. The file never grows, so that claims and acks need no room on a full disk.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from zlib import crc32

from lowq import kernel
from lowq.process.handlers import Suppressed

Change = tuple[str, str]
"""A rename within the directory, from one name to another; or, to an empty name, a removal."""

MAGIC = b"lowqdir2"
START = 4096
ROOM = 1 << 20
"""Bytes of changes that are remembered: some eight thousand."""

_HEADER = struct.Struct("<8sQQQQQQ8s")
_CHECK = struct.Struct("<I")
_RECORD = struct.Struct("<II")


@dataclass(slots=True)
class Header:
    """Where the journal ends, and up to where it is done.

    `epoch` is another one where the changes before cannot be followed; `next` is the number of the next task; `batch`
    is 1 while a batch file may stand there; `changed` is the time of the directory after the last change, by which a
    new client sees whether anybody else changed it.
    """

    epoch: int
    end: int
    done: int
    next: int
    batch: int = 0
    changed: int = 0


class Journal:
    """The journal in an open file; only who holds the directory's lock may use it."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    def header(self) -> Header | None:
        """The header, or None where it is of another boot, or damaged."""
        data = os.pread(self._fd, _HEADER.size + 4, 0)
        if len(data) < _HEADER.size + 4 or _CHECK.unpack_from(data, _HEADER.size)[0] != crc32(data[:-4]):
            return None
        magic, epoch, end, done, number, batch, changed, boot = _HEADER.unpack_from(data)
        if magic != MAGIC or boot != boot_id():
            return None
        return Header(epoch, end, done, number, batch, changed)

    def write(self, header: Header) -> None:
        """The header is that from now on."""
        data = _HEADER.pack(
            MAGIC, header.epoch, header.end, header.done, header.next, header.batch, header.changed, boot_id()
        )
        os.pwrite(self._fd, data + _CHECK.pack(crc32(data)), 0)

    def append(self, changes: list[Change], at: int) -> int:
        """A record of the changes stands at `at` or soon behind it; where it ends, for the header to say."""
        data = "\0".join(f"{source}\0{target}" for source, target in changes).encode(errors="surrogateescape")
        record = _RECORD.pack(len(data), crc32(data)) + data
        left = ROOM - at % ROOM
        if left < len(record):
            if left >= _RECORD.size:
                self._put(_RECORD.pack(0, 0), at)  # the rest is left empty
            at += left
        self._put(record, at)
        return at + len(record)

    def changes(self, start: int, end: int) -> list[Change] | None:
        """The changes between two places of the journal, or None where it does not remember them."""
        if not 0 <= end - start <= ROOM:
            return None
        found: list[Change] = []
        while start < end:
            left = ROOM - start % ROOM
            window = os.pread(self._fd, min(left, end - start), START + start % ROOM)
            at = 0
            while at + _RECORD.size <= len(window):
                length, check = _RECORD.unpack_from(window, at)
                if length == 0:
                    break
                data = window[at + _RECORD.size : at + _RECORD.size + length]
                if len(data) != length or crc32(data) != check:
                    return None
                parts = data.decode(errors="surrogateescape").split("\0")
                found += zip(parts[::2], parts[1::2], strict=True)
                at += _RECORD.size + length
            if at < len(window) and len(window) != left:
                return None
            start += len(window)
            if not window:
                return None
        return found

    def _put(self, data: bytes, at: int) -> None:
        written = os.pwrite(self._fd, data, START + at % ROOM)
        if written != len(data):
            os.pwrite(self._fd, data[written:], START + at % ROOM + written)  # says why it cannot


def allocate(descriptor: int) -> None:
    """The file has its size, and all its room on the disk."""
    if os.fstat(descriptor).st_size == START + ROOM:
        return
    if hasattr(os, "posix_fallocate"):
        with Suppressed(OSError):
            os.posix_fallocate(descriptor, 0, START + ROOM)
            return
    os.ftruncate(descriptor, 0)
    zeros = bytes(1 << 16)
    for at in range(0, START + ROOM, len(zeros)):
        os.pwrite(descriptor, zeros[: START + ROOM - at], at)


@cache
def boot_id() -> bytes:
    """Eight bytes that are other ones after each start of the machine; zeros where the system does not say."""
    text = b""
    with Suppressed(OSError, AttributeError, ValueError):
        if sys.platform == "darwin":
            text = _session()
        else:
            with kernel.open_file("/proc/sys/kernel/random/boot_id", "rb") as file:
                text = file.read()
    return blake2b(text, digest_size=8).digest() if text else bytes(8)


def knows_boots() -> bool:
    """Whether the system tells one start of the machine from another."""
    return boot_id() != bytes(8)


def _session() -> bytes:
    """What macOS calls this start of the machine."""
    import ctypes

    libc = ctypes.CDLL(None)
    size = ctypes.c_size_t(64)
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0) != 0:
        return b""
    return buffer.value
