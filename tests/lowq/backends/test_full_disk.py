"""Servers whose disk is full: what they refuse has a name, and what they acknowledged is there when there is room.

The disk is a real server's limit on the size of its files, which needs no rights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from processes import wait_for

from lowq import Backend, BackendUnavailable, Item, open_backend
from lowq.testing.servers import valkey
from lowq.testing.servers.postgres import PostgresServer
from lowq.testing.servers.valkey import ValkeyServer

MINUTE = timedelta(minutes=1)
SHORT = timedelta(seconds=1)
MANY = 3000
"""So many pushes of some kilobytes are more than any of these disks has room for."""


class SmallPostgres(PostgresServer):
    """A server none of whose files may become longer than so many kilobytes, where a number is given."""

    kilobytes: int | None = None

    def _as_user(self, command: list[str]) -> list[str]:
        command = super()._as_user(["--wal-segsize=2" if part.startswith("--wal-seg") else part for part in command])
        if self.kilobytes is None:
            return command
        limit = f"trap '' XFSZ; ulimit -S -f {2 * self.kilobytes}"
        return ["/bin/sh", "-c", f'{limit}; exec "$@"', "sh", *command]

    def limit(self, kilobytes: int | None) -> None:
        self.shut_down()
        self.kilobytes = kilobytes
        self.start()


@pytest.fixture
def server() -> Iterator[SmallPostgres]:
    server = SmallPostgres(settings={"autovacuum": "off", "fsync": "off"})
    yield server
    server.stop()


@pytest.fixture
def url(server: SmallPostgres) -> str:
    return server.url(server.fresh())


@pytest.fixture
def queue(url: str) -> Iterator[Backend]:
    with closing(open_backend(url, patience=SHORT)) as queue:
        yield queue


def noise(number: int) -> list[Any]:
    """A work of some kilobytes that no server makes smaller."""
    return [number, os.urandom(2000).hex()]


def fill(push: Callable[[int], object]) -> tuple[list[int], BackendUnavailable]:
    """The numbers that were pushed until the server refused, and how it did."""
    pushed: list[int] = []
    for number in range(MANY):
        try:
            push(number)
        except BackendUnavailable as error:
            return pushed, error
        pushed.append(number)
    raise AssertionError("the disk has room for all of it")


def numbers(queue: Backend) -> list[int]:
    return [task.work[0] for task in queue.tasks() if isinstance(task.work, list)]


def test_postgresql_without_room_refuses_whole_and_goes_on_to_hand_out(
    server: SmallPostgres, url: str, queue: Backend
) -> None:
    server.limit(2048)  # as long as a piece of its log is

    pushed, error = fill(lambda number: queue.push(noise(number)))

    assert "out of room" in str(error)
    assert "nothing was written" in str(error)
    with pytest.raises(BackendUnavailable, match="out of room"):
        queue.push_many([Item(noise(MANY + number)) for number in range(20)])
    with (
        closing(psycopg.connect(url)) as db,
        queue.within(db),
        pytest.raises(BackendUnavailable, match="out of room"),
    ):
        queue.push_many([Item(noise(MANY + number)) for number in range(20)])
    assert numbers(queue) == pushed
    first = queue.claim(lease_for=MINUTE)
    assert first is not None
    assert first.work[0] == 0
    queue.ack(first)

    server.limit(None)

    assert queue.push(noise(MANY)).added
    assert numbers(queue) == [*pushed[1:], MANY]


def test_postgresql_whose_log_finds_no_room_keeps_what_it_acknowledged(server: SmallPostgres, queue: Backend) -> None:
    """It cannot go on without its log, and ends; when there is room again, so is what was pushed."""
    server.limit(1500)

    pushed, error = fill(lambda number: queue.push(noise(number)))

    assert "does not answer" in str(error)
    server.kill()
    server.kilobytes = None
    server.start()
    found = numbers(queue)
    assert found[: len(pushed)] == pushed
    assert found[len(pushed) :] in ([], [len(pushed)])  # the one of which nobody knew
    assert queue.push(noise(MANY)).added


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ValkeyServer]:
    """A Valkey none of whose files may become longer than 64 kB, while the file ``full`` is there."""
    wrapper, full = tmp_path / "small", tmp_path / "full"
    limit = f"if [ -e '{full}' ]; then trap '' XFSZ; ulimit -S -f 128; fi"
    wrapper.write_text(f"#!/bin/sh\n{limit}\nexec '{valkey.program()}' \"$@\"\n")
    wrapper.chmod(0o755)
    full.touch()
    monkeypatch.setattr(valkey, "program", lambda: str(wrapper))
    return lambda sync: ValkeyServer(settings={"appendfsync": sync})


def test_valkey_that_syncs_each_change_and_finds_no_room_keeps_what_it_acknowledged(
    small: Callable[[str], ValkeyServer], tmp_path: Path
) -> None:
    """It ends rather than answer for what is not on its disk."""
    server = small("always")
    with closing(open_backend(server.url(), patience=SHORT)) as queue:
        pushed, error = fill(lambda number: queue.push(noise(number)))

        assert "does not answer" in str(error)
        (tmp_path / "full").unlink()
        server.start()
        found = numbers(queue)
        assert found[: len(pushed)] == pushed
        assert found[len(pushed) :] in ([], [len(pushed)])
        assert queue.push(noise(MANY)).added
    server.stop()


def test_valkey_that_syncs_each_second_and_finds_no_room_refuses_by_name(
    small: Callable[[str], ValkeyServer],
) -> None:
    server = small("everysec")
    with closing(open_backend(server.url(), patience=SHORT)) as queue:
        pushed, error = fill(lambda number: queue.push(noise(number)))

        assert "cannot write to its disk" in str(error)
        assert numbers(queue) == pushed
        for verb in (lambda: queue.push("x"), lambda: queue.claim(lease_for=MINUTE)):
            with pytest.raises(BackendUnavailable, match="cannot write to its disk"):
                verb()
    server.stop()
    wait_for(lambda: not Path(server.socket).exists())
