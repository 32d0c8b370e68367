"""Servers of lowq over temporary SQLite queues, one for each place, all in one process that ends with its starter.

A harness is made in many processes, and each asks the same process for the URL of a place: its address stands in the
environment, which children inherit. One that finds nobody there starts another. But a place has one URL, which stands
in it: the lock of a worker goes by the URL, so that two would have two workers, and the queue would be accused of it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues import http_server

_VARIABLE = "LOWQ_CHECK_SERVERS"
_BOUND = 30.0
_started: list[subprocess.Popen[str]] = []


def url_of(place: Path, reached: str | None = None) -> str:
    """The URL of the server over the queue at `place`, whose clock is the place's, `reached` by that address or its.

    Raises BrokenHarness.
    """
    if (own := http_server.address_of(place)) is not None:
        os.environ["XDG_STATE_HOME"] = str(place / "state")  # for the locks of workers
        return f"http://{reached or own}"
    try:
        port, _, state = (os.environ.get(_VARIABLE) or _start()).partition(" ")
        try:
            url = _ask(int(port), place)
        except ConnectionRefusedError:  # it ended with its starter, and this process outlived both
            port, _, state = _start().partition(" ")
            url = _ask(int(port), place)
    except (OSError, ValueError) as error:
        raise BrokenHarness(
            f"the process with the servers does not answer: {type(error).__name__}: {error}"
        ) from None
    if (known := _first_url(place, url)) != url:
        raise BrokenHarness(f"{known} served this place, and is gone: its workers may still run")
    os.environ["XDG_STATE_HOME"] = state  # for the locks of workers; gone with the servers
    return url


def _ask(port: int, place: Path) -> str:
    """The URL that the process at the port serves the place at. Raises OSError, ValueError and BrokenHarness."""
    with socket.create_connection(("127.0.0.1", port), timeout=_BOUND) as asked:
        asked.sendall(json.dumps(str(place)).encode() + b"\n")
        with asked.makefile() as answer:
            said = json.loads(answer.readline())
    if "error" in said:
        raise BrokenHarness(f"lowq's HTTP server does not start: {said['error']}")
    return str(said["url"])


def _first_url(place: Path, url: str) -> str:
    """The URL that the place was first served at, which is this one where it was served at none."""
    kept = place / "served-at"
    if not kept.exists():
        new = place / f"served-at.{os.getpid()}-{threading.get_ident()}"
        new.write_text(url, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(new, kept)
        new.unlink()
    return kept.read_text(encoding="utf-8")


def _start() -> str:
    """Another process serves; its port, and the folder for the state of its users."""
    program = "from lowq_conformance.queues.http_places import serve; serve()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,  # it ends when this pipe does, however its users end
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        errors = process.communicate()[1].strip().splitlines()
        raise BrokenHarness(f"lowq's HTTP server does not start: {errors[-1] if errors else 'it said nothing'}")
    _started.append(process)
    os.environ[_VARIABLE] = line.strip()
    return line.strip()


def serve() -> None:
    """Serve the places that are asked for, until standard input ends."""
    servers: dict[str, Any] = {}
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    with tempfile.TemporaryDirectory(prefix="lowq-check-state-", ignore_cleanup_errors=True) as state:
        print(listener.getsockname()[1], state, flush=True)  # noqa: T201  its answer to who started it
        for target in (lambda: _answer(listener, servers, lock), lambda: _sweep(servers, lock)):
            threading.Thread(target=target, daemon=True).start()
        with suppress(OSError):
            while os.read(0, 1):
                pass
    os._exit(0)


def _answer(listener: socket.socket, servers: dict[str, Any], lock: threading.Lock) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # too many files are open now
            time.sleep(0.05)
            continue
        # A thread each: one that is stopped before it has asked holds up nobody.
        threading.Thread(target=_answer_one, args=(connection, servers, lock), daemon=True).start()


def _answer_one(connection: socket.socket, servers: dict[str, Any], lock: threading.Lock) -> None:
    with connection, suppress(OSError, ValueError), connection.makefile() as asked:
        place = json.loads(asked.readline())
        try:
            with lock:
                if place not in servers:
                    servers[place] = _server(Path(place))
                said = {"url": servers[place].url}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        connection.sendall(json.dumps(said).encode() + b"\n")


def _server(place: Path) -> Any:
    server = http_server.make_server(place)
    threading.Thread(target=server.run, daemon=True).start()
    return server


def _sweep(servers: dict[str, Any], lock: threading.Lock) -> None:
    """Servers of places that are gone are closed."""
    while True:
        time.sleep(1)
        with lock:
            gone = [servers.pop(place) for place in list(servers) if not os.path.exists(place)]
        for server in gone:
            server.stop()
            with suppress(Exception):  # its queue is gone
                server.close()
