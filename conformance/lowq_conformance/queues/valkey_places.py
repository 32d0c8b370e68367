"""A Valkey server for the places of a run, which ends with its starter; each place is a prefix of its keys.

A harness is made in many processes, and each asks for the URL of a place. The address of the server stands in the
environment, which children inherit, and that of a place in a file there, so that all who come to it meet.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from lowq import LowqError
from lowq.testing.servers.valkey import ValkeyServer
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues.stoppable import StoppableServer
from lowq_conformance.support.scratch import quick_folder

_VARIABLE = "LOWQ_CHECK_VALKEY"
_FILE = "valkey"
_BOUND = 30.0
_started: list[ValkeyServer] = []
_own: list[StoppableServer[ValkeyServer]] = []
_lock = threading.Lock()


def server_of(place: Path) -> StoppableServer[ValkeyServer]:
    """The server of that place, which was not opened yet: one for all such places. Raises BrokenHarness."""
    if not _own:
        server = _start()
        _own.append(StoppableServer(server, server.socket))
    (place / _FILE).write_text(f"{_own[0].server.url()}&prefix={secrets.token_hex(8)}", encoding="utf-8")
    return _own[0]


def url_of(place: Path, reached: str | None = None) -> str:
    """The URL of the queue at `place`, `reached` by that socket or as its server says.

    Where the state of its users is kept stands in the environment. Raises BrokenHarness.
    """
    kept = place / _FILE
    if not kept.exists():
        own = place / f"{_FILE}-{secrets.token_hex(8)}"
        own.write_text(f"{_server()}&prefix={secrets.token_hex(8)}", encoding="utf-8")
        with suppress(FileExistsError):  # somebody else came first
            os.link(own, kept)
        own.unlink()
    url = kept.read_text(encoding="utf-8")
    os.environ["XDG_STATE_HOME"] = str(Path(_socket_of(url)).parent / "state")  # for the locks of workers
    return url if reached is None else url.replace(_socket_of(url), reached)


def forget(place: Path) -> None:
    """Nothing is kept of the place."""
    kept = place / _FILE
    with suppress(OSError):
        url = kept.read_text(encoding="utf-8")
        prefix = url.rpartition("=")[2]
        script = (
            "local names = redis.call('SMEMBERS', ARGV[1] .. ':names') "
            "for _, name in ipairs(names) do "
            "local base = '{' .. ARGV[1] .. ':' .. name .. '}' "
            "redis.call('UNLINK', base) "
            "for part in string.gmatch('ready scheduled leased dead standing task work bell', '%a+') do "
            "redis.call('UNLINK', base .. ':' .. part) end end "
            "redis.call('UNLINK', ARGV[1] .. ':names')"
        )
        with _connected(_socket_of(url)) as asked:
            parts = ["EVAL", script, "0", prefix]
            asked.sendall(
                b"*%d\r\n%s" % (len(parts), b"".join(b"$%d\r\n%s\r\n" % (len(part), part.encode()) for part in parts))
            )
            asked.recv(4096)


def _server() -> str:
    """The URL of the server of this run, which is started where there is none."""
    with _lock:
        url = os.environ.get(_VARIABLE)
        if url is not None:
            with suppress(OSError), _connected(_socket_of(url)):
                return url
        server = _start()
        _started.append(server)
        os.environ[_VARIABLE] = server.url()
        return server.url()


def _start() -> ValkeyServer:
    try:
        server = ValkeyServer(within=quick_folder())
    except LowqError as error:
        raise BrokenHarness(f"the Valkey server does not start: {error}") from error
    (Path(server.socket).parent / "state").mkdir(exist_ok=True)
    return server


def _connected(path: str) -> socket.socket:
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.settimeout(_BOUND)
        asked.connect(path)
    except BaseException:
        asked.close()
        raise
    return asked


def _socket_of(url: str) -> str:
    return urlsplit(url).path
