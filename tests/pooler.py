"""A pooler before a PostgreSQL server, as PgBouncer is in transaction mode: each transaction gets another session.

What a client leaves in a session, prepared statements, settings, LISTEN and locks, is then another client's.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BOUND = 60

_TRUSTED = b"R\0\0\0\x08\0\0\0\0"
_READY = b"Z\0\0\0\x05I"


class Pooler:
    """Shares `sessions` sessions of the server, whose socket this is, out among all clients; each in its turn.

    It tells clients of a process of its own, as PgBouncer does, or, where it `poses` as the server, of the
    server's first one.
    """

    def __init__(self, server: str, user: str, database: str, *, sessions: int, poses: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._free: queue.Queue[Stream] = queue.Queue()
        self.transactions = 0
        self._told = b"K" + struct.pack("!iii", 12, 1, 1)
        for _ in range(sessions):
            told = self._begin(server, user, database)
            self._told = told if poses else self._told
        self.url = f"postgresql://{user}@127.0.0.1:{self._listener.getsockname()[1]}/{database}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Every connection is cut, and every thread has ended."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in self._threads:
            self._free.put(Stream(self._listener))
        for thread in self._threads:
            thread.join(BOUND)
        for each in self._open:
            each.close()

    def _begin(self, server: str, user: str, database: str) -> bytes:
        """One more session is free; what the server said of its process."""
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(BOUND)
        made.connect(server)
        self._open.append(made)
        words = f"user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0".encode()
        made.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
        stream, told = Stream(made), b""
        while (kind := (message := stream.message())[:1]) != b"Z":
            assert kind != b"E", message
            told = message if kind == b"K" else told
        self._free.put(stream)
        return told

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            thread = threading.Thread(target=self._serve, args=(Stream(client),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: Stream) -> None:
        with suppress(OSError, EOFError):
            while (length := struct.unpack("!i", client.take(4))[0]) == 8:  # a request for TLS, or for GSSAPI
                client.take(length - 4)
                client.socket.sendall(b"N")
            client.take(length - 4)
            client.socket.sendall(_TRUSTED + self._told + _READY)
            while (message := client.message())[:1] != b"X":
                session = self._free.get(timeout=BOUND)
                self.transactions += 1
                if self._transaction(client, session, message):
                    self._free.put(session)
        client.socket.close()

    def _transaction(self, client: Stream, session: Stream, message: bytes) -> bool:
        """All that the client says to the end of a transaction is answered by one session, which is free again."""
        while True:
            session.socket.sendall(message)
            if message[:1] in b"QS":
                answers = [session.message()]
                while answers[-1][:1] != b"Z":
                    answers.append(session.message())
                # A notification is for whoever has the session just then.
                client.socket.sendall(b"".join(answer for answer in answers if answer[:1] != b"A"))
                if answers[-1][5:] == b"I":
                    return True
            message = client.message()


class Stream:
    """A socket that is read message by message."""

    def __init__(self, socket: socket.socket) -> None:
        self.socket = socket
        self._read = b""

    def take(self, length: int) -> bytes:
        """The next so many bytes. Raises EOFError where nothing follows."""
        while len(self._read) < length:
            more = self.socket.recv(1 << 16)
            if not more:
                raise EOFError
            self._read += more
        taken, self._read = self._read[:length], self._read[length:]
        return taken

    def message(self) -> bytes:
        """The next message, whole."""
        head = self.take(5)
        return head + self.take(struct.unpack("!i", head[1:])[0] - 4)


@contextmanager
def pooled(server: str, user: str, database: str, *, sessions: int = 3, poses: bool = False) -> Iterator[Pooler]:
    """A pooler until the block ends."""
    pooler = Pooler(server, user, database, sessions=sessions, poses=poses)
    try:
        yield pooler
    finally:
        pooler.close()
