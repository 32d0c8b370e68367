"""The commands on a queue that a database server keeps; what they print has no password in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from lowq import Counts, open_backend
from lowq.testing.servers.postgres import PostgresServer

BOUND = 60
SECRET = "tops3cret"


@pytest.fixture
def url(
    lowq_postgres_server: PostgresServer, lowq_postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A URL with a password in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    lowq_postgres_server.address.run(f"CREATE USER ann SUPERUSER PASSWORD '{SECRET}'")
    yield lowq_postgres.replace("postgres@", f"ann:{SECRET}@")
    lowq_postgres_server.address.run("DROP USER ann")


def lowq(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lowq", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def said(*arguments: str, status: int = 0) -> str:
    """What the command printed, on both streams; there is no password in it."""
    process = lowq(*arguments)
    output = process.communicate(timeout=BOUND)[0]
    assert process.returncode == status, output
    assert SECRET not in output
    return output


def test_the_commands_work_on_it(url: str) -> None:
    assert said("push", url, '{"a": 1}', '"b"').split() == ["pushed", "1", "pushed", "2"]
    assert '"b"' in said("list", url)
    assert json.loads(said("count", url, "--json"))["ready"] == 2
    assert "done" in said("work", url, "--drain", "--", "cat")
    with closing(open_backend(url)) as queue:
        assert queue.count() == Counts()


@pytest.mark.parametrize("command", ["list", "work"])
def test_a_wrong_password_is_told_and_not_shown(url: str, command: str) -> None:
    wrong = url.replace(SECRET, f"{SECRET}X")
    more = {"work": ["--drain", "--", "cat"]}.get(command, [])

    assert "password authentication failed" in said(command, wrong, *more, status=2)


def test_it_is_served(url: str) -> None:
    said("push", url, "1")
    server = lowq("serve", url, "--port", "0")
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        with urlopen(f"{first.split()[0]}tasks", timeout=BOUND) as page:
            shown = page.read().decode()
    finally:
        server.send_signal(signal.SIGTERM)
        rest = server.communicate(timeout=BOUND)[0]

    assert "shows postgresql://ann:…@/" in first
    assert "1 ready" in shown or ">1<" in shown
    assert SECRET not in first + shown + rest
    assert server.returncode in (0, -signal.SIGTERM)
