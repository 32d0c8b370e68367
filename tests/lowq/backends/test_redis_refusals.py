"""What is said of a server, a URL or a user that will not do: in a line or two, and never with the password.

Long: a URL, a user and a server each may be wrong in a dozen ways.
"""

from __future__ import annotations

import logging
import pickle
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from lowq import (
    BackendUnavailable,
    CorruptQueue,
    Counts,
    InvalidLocation,
    LowqError,
    NotAllowed,
    Worker,
    open_backend,
)
from lowq.location import Location, locate
from lowq.testing.servers.valkey import ValkeyServer, valkey_server

PASSWORD = "s3cret-Pa:ss@w/or?d&x=1#ä"
ESCAPED = "s3cret-Pa%3Ass%40w%2For%3Fd%26x%3D1%23%C3%A4"
SHORT = timedelta(seconds=0.3)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with valkey_server(port=port, settings={"appendonly": "no"}) as made:
        yield made


@pytest.fixture
def url(server: ValkeyServer) -> Iterator[str]:
    yield server.fresh()
    for command in (
        "CONFIG SET maxmemory 0",
        "CONFIG SET maxmemory-policy noeviction",
        "REPLICAOF NO ONE",
        "ACL DELUSER limited",
    ):
        with suppress(BackendUnavailable):
            server.ask(command)


@pytest.fixture
def user(server: ValkeyServer) -> Iterator[Callable[[str], str]]:
    """The URL of the server for a user with these rights."""

    def made(rights: str) -> str:
        server.ask(f'ACL SETUSER limited reset on ">{PASSWORD}" {rights}')
        return f"redis://limited:{ESCAPED}@127.0.0.1:{server.port}/0"

    yield made
    server.ask("ACL DELUSER limited")


def refused(at: str, error: type[LowqError] = InvalidLocation, **options: Any) -> str:
    """What is said when the queue at that URL cannot be opened."""
    given: dict[str, Any] = {} if "patience" in at else {"patience": SHORT}
    with pytest.raises(error) as caught:
        open_backend(at, **given, **options).close()
    said = str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert not isinstance(caught.value.__context__, Exception) or caught.value.__suppress_context__
    for text in (said, shown, repr(caught.value)):
        assert "s3cret" not in text
    assert said.count("\n") <= 1
    return said


# URLs


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("redis://localhost:port/0", "expected a host and a port, such as redis://user:password@host:6379/0"),
        ("redis://localhost:0", "expected a host and a port"),
        ("redis://localhost:65536", "expected a host and a port"),
        ("redis://a b:6379", "expected a host and a port"),
        ("redis://[::1", "expected a host and a port"),
        ("redis://localhost/zero", "the database is a number, such as 0; got 'zero'"),
        ("redis://localhost/-1", "the database is a number"),
        ("redis://localhost/0/1", "the database is a number"),
        ("redis://localhost/1?db=2", "the database is given twice, as /1 and as db="),
        ("redis+unix://socket", "expected the path of a socket: redis+unix:///run/valkey.sock"),
        ("unix://", "expected the path of a socket"),
        ("redis://localhost?prefix=", "prefix: expected 1 to 100 printable characters"),
        ("redis://localhost?prefix=a:b", "prefix: expected"),
        ("redis://localhost?patience=soon", "patience: expected seconds"),
        ("redis://localhost?nonsense", "expected ?option=value"),
        ("redis://localhost?max=1", "unknown option 'max'; redis knows prefix, patience, password, db, ca, create"),
        ("reddis://localhost", "unknown kind of queue 'reddis'"),
    ],
)
def test_a_url_of_wrong_parts_says_which(at: str, said: str) -> None:
    assert said in refused(at)


@pytest.mark.parametrize(
    "at",
    [
        f"redis://:{ESCAPED}@127.0.0.1:1/0",
        f"rediss://me:{ESCAPED}@127.0.0.1:1/0",
        f"valkey://:{PASSWORD}@127.0.0.1:1/0",
        f"redis://:{ESCAPED}",
        f"redis://:{ESCAPED}@127.0.0.1:x",
        f"redis://127.0.0.1:1?password={ESCAPED}",
        f"redis://127.0.0.1:1?password={ESCAPED}&nonsense=1",
        f"redis://127.0.0.1:1?password={ESCAPED}&nonsense",
        f"redis+unix://me:{ESCAPED}@/nowhere.sock",
        f"redis+unix://me:{ESCAPED}@nowhere.sock",
        f"reddis://:{PASSWORD}@127.0.0.1:1/0",
        f"redis://:{PASSWORD}\0@127.0.0.1:1/0",
    ],
)
def test_no_password_is_shown_whatever_is_wrong(at: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused(at, LowqError)

    assert "s3cret" not in caplog.text


def test_a_location_shows_no_password_and_keeps_it() -> None:
    where = locate(f"valkey://me:{ESCAPED}@Host/0?password={ESCAPED}&prefix=shop")

    assert "s3cret" not in f"{where} {where!r} {where.identity}"
    assert str(where) == "redis://me:…@Host/0?password=…&prefix=shop"
    assert pickle.loads(pickle.dumps(where)) == where


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost", "valkey://LOCALHOST:6379/0", True),
        ("redis://a:b@localhost", "redis://localhost/", True),
        ("redis://localhost/1", "redis://localhost/2", False),
        ("redis://localhost", "redis://localhost?prefix=x", False),
        ("unix:///run/s", "redis+unix:///run/s?db=0", True),
        ("unix:///run/s", "redis+unix:///run/s?db=1", False),
        ("redis://localhost", "redis://localhost?patience=3", True),
    ],
)
def test_the_places_of_two_urls_are_one_or_two(one: str, other: str, same: bool) -> None:
    assert (locate(one).identity == locate(other).identity) == same
    assert isinstance(locate(one), Location)


# who logs in


def test_a_wrong_password_is_said(server: ValkeyServer, url: str, user: Callable[[str], str]) -> None:
    good = user("+@all ~*")
    open_backend(good).close()

    assert "the password, or the user, is wrong" in refused(good.replace("s3cret", "s3cret2"))
    assert "the password, or the user, is wrong" in refused(good.replace("limited", "nobody"))
    open_backend(good.replace(f":{ESCAPED}", ""), password=PASSWORD).close()


def test_a_password_that_is_missing_or_not_asked_for_is_said(server: ValkeyServer, url: str) -> None:
    assert "the server asks for none; leave it out" in refused(f"{url}&password=s3cret")
    server.ask("CONFIG SET requirepass s3cret")
    try:
        assert "the server asks for a password; give it in the URL" in refused(url)
        open_backend(f"{url}&password=s3cret").close()
    finally:
        server.ask("AUTH s3cret", 'CONFIG SET requirepass ""')


def test_a_password_that_was_changed_meanwhile_is_no_end_for_the_client(server: ValkeyServer, url: str) -> None:
    queue = open_backend(f"{url}", patience=SHORT)
    server.ask("CONFIG SET requirepass s3cret")
    server.ask("AUTH s3cret", "CLIENT KILL TYPE normal SKIPME yes")
    try:
        with pytest.raises(BackendUnavailable, match="the server asks for a password"):
            queue.push(1)
    finally:
        server.ask("AUTH s3cret", 'CONFIG SET requirepass ""')

    assert queue.push(1).added
    queue.close()


@pytest.mark.parametrize(
    "rights",
    [
        "+@all ~other:*",
        "+@all -time ~*",
        "+@all -info ~*",
        "+@all -evalsha ~*",
        "+@all -eval -evalsha ~*",
        "+ping ~*",
        "+@all -@write ~*",
        "+@read ~*",
    ],
)
def test_a_user_without_the_rights_is_told_which_to_ask_for(
    server: ValkeyServer, url: str, user: Callable[[str], str], rights: str
) -> None:
    server.ask("SELECT 0", "FLUSHDB SYNC", "SCRIPT FLUSH SYNC")
    said = refused(user(rights), NotAllowed)

    assert "the user 'limited' has not the rights that a queue needs" in said
    assert "ACL SETUSER limited ~lowq:names ~{lowq:* +@read" in said


def commands_of_scripts() -> list[str]:
    """What the scripts of the verbs ask the server for."""
    texts = [file.read_text(encoding="utf-8") for file in files("lowq.backends.redis").joinpath("lua").iterdir()]
    return sorted({name for text in texts for name in re.findall(r"call\('([A-Z]+)'", text)})


@pytest.mark.parametrize("command", [*commands_of_scripts(), "BLPOP", "SADD", "SISMEMBER"])
def test_a_command_that_a_verb_would_miss_halfway_is_missed_before_anything_is_written(
    server: ValkeyServer, user: Callable[[str], str], command: str
) -> None:
    server.ask("SELECT 0", "FLUSHDB SYNC")

    said = refused(user(f"+@all -{command.lower()} ~*"), NotAllowed)

    assert command in said.upper()
    assert server.ask("SELECT 0", "DBSIZE").strip() == ":0"


def test_who_may_only_read_may_look(server: ValkeyServer, url: str, user: Callable[[str], str]) -> None:
    server.ask("SELECT 0", "FLUSHDB SYNC")
    with closing(open_backend(user("+@all ~*"))) as queue:
        queue.push("x")
        other = open_backend(user("+@read +@scripting +@connection +time +info +config|get ~*"), create=False)
        with closing(other) as reader:
            assert [task.work for task in reader.tasks()] == ["x"]
            with pytest.raises(NotAllowed):
                reader.push("y")
            assert reader.count() == Counts(ready=1)
            user("+@all ~*")
            assert [task.work for task in queue.tasks()] == ["x"]


KEYS = [
    "lowq:names",
    *(
        f"{{lowq:default}}{part}"
        for part in ["", *":ready :scheduled :leased :dead :standing :task :work :bell".split()]
    ),
    "{lowq:default}:call:*",
]


@pytest.mark.parametrize("missing", KEYS)
def test_a_key_that_a_verb_would_miss_halfway_is_missed_before_anything_is_written(
    server: ValkeyServer, user: Callable[[str], str], missing: str
) -> None:
    server.ask("SELECT 0", "FLUSHDB SYNC")

    refused(user(f"+@all {' '.join(f'~{key}' for key in KEYS if key != missing)}"), NotAllowed)

    assert server.ask("SELECT 0", "DBSIZE").strip() == ":0"


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_of_certificates_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    assert "ca.pem cannot be read" in refused(f"rediss://u:s3cret@127.0.0.1:1?ca={file}")


@pytest.mark.parametrize("verb", ["push", "claim", "count"])
def test_rights_that_were_taken_meanwhile_are_no_server_that_is_away(
    url: str, user: Callable[[str], str], verb: str
) -> None:
    queue: Any = open_backend(user("+@all ~*"), patience=SHORT)
    user("+@all -time -blpop ~*")
    told = {"push": ("x",), "claim": (), "count": ()}[verb]
    how = {"lease_for": timedelta(minutes=1), "wait": timedelta(minutes=1)} if verb == "claim" else {}

    with pytest.raises(NotAllowed, match="ACL SETUSER limited") as caught:
        getattr(queue, verb)(*told, **how)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))

    user("+@all ~*")
    assert queue.push(f"after {verb}").added
    queue.close()


def test_a_worker_without_the_rights_ends_and_does_not_wait(url: str, user: Callable[[str], str]) -> None:
    queue = open_backend(user("+@all ~*"), patience=SHORT)
    worker = Worker(queue, print, patience=timedelta(hours=1))
    user("+@all -time ~*")

    with pytest.raises(NotAllowed):
        worker.run_forever()
    queue.close()


def test_the_rights_that_are_asked_for_are_enough(server: ValkeyServer, url: str, user: Callable[[str], str]) -> None:
    server.ask("SELECT 0", "FLUSHDB SYNC", "SCRIPT FLUSH SYNC")
    rights = refused(user("+ping")).partition("ACL SETUSER limited ")[2]

    queue: Any = open_backend(user(rights))
    queue.push("x")
    lease = queue.claim(lease_for=timedelta(minutes=1), wait=timedelta(minutes=1))
    assert lease is not None
    queue.ack(lease)
    assert queue.claim(lease_for=timedelta(minutes=1), wait=timedelta(milliseconds=20)) is None
    assert queue.names() == ["default"]
    assert queue.durability == "none"
    queue.close()


# servers


def test_a_database_that_the_server_has_not_is_said(server: ValkeyServer) -> None:
    assert "the server has no database 99999; 0 is always there" in refused(server.url(99_999))


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_server_that_throws_keys_away_is_refused(server: ValkeyServer, url: str, policy: str) -> None:
    server.ask(f"CONFIG SET maxmemory-policy {policy}")
    open_backend(url).close()  # without a limit nothing is thrown away
    server.ask("CONFIG SET maxmemory 100mb")

    assert f"(maxmemory-policy {policy})" in (said := refused(url))
    assert "CONFIG SET maxmemory-policy noeviction" in said


@pytest.mark.parametrize(
    ("settings", "durability", "kept"),
    [
        (("appendonly yes", "appendfsync always"), "power", True),
        (("appendonly yes", "appendfsync everysec"), "second", True),
        (("appendonly yes", "appendfsync no"), "none", False),
        (("appendonly no",), "none", False),
    ],
)
def test_what_the_server_keeps_is_what_is_promised(
    server: ValkeyServer, url: str, settings: tuple[str, ...], durability: str, kept: bool
) -> None:
    try:
        for each in settings:
            server.ask(f"CONFIG SET {each}")
        queue: Any = open_backend(url)
        assert queue.durability == durability
        assert ({"crash", "persistent"} <= queue.promises) == kept
        queue.close()
    finally:
        server.ask("CONFIG SET appendonly no")


def test_what_a_server_does_not_tell_is_unknown_and_not_promised(
    server: ValkeyServer, url: str, user: Callable[[str], str]
) -> None:
    queue: Any = open_backend(user("+@all -config ~*"))

    assert queue.durability == "unknown"
    assert "crash" not in queue.promises
    queue.close()


def test_a_replica_is_refused(server: ValkeyServer, url: str) -> None:
    server.ask("REPLICAOF 127.0.0.1 1")

    assert "is a read-only replica; name its primary" in refused(url)


@pytest.mark.parametrize(
    "foreign",
    [
        "SET {lowq:default} theirs",
        "HSET {lowq:default} user 7",
        "RPUSH {lowq:default}:ready 1",
        "SET {lowq:default}:bell 1",
    ],
)
def test_what_is_not_ours_is_left_alone(server: ValkeyServer, url: str, foreign: str) -> None:
    db = url.rpartition("=")[2]
    server.ask(f"SELECT {db}", foreign)

    assert "holds what lowq did not write" in refused(url)
    assert server.ask(f"SELECT {db}", "DBSIZE") == ":1\r\n"
    open_backend(f"{url}&prefix=ours").close()


def test_a_name_list_that_is_not_ours_is_said(server: ValkeyServer, url: str) -> None:
    server.ask(f"SELECT {url.rpartition('=')[2]}", "SET lowq:names theirs")

    assert "holds something else than lowq wrote" in refused(url, CorruptQueue)


def test_a_newer_layout_is_refused(server: ValkeyServer, url: str) -> None:
    open_backend(url).close()
    server.ask(f"SELECT {url.rpartition('=')[2]}", "HSET {lowq:default} layout 2")

    assert "made by a newer lowq (layout 2, this lowq knows 1); upgrade lowq" in refused(url)


def test_a_queue_that_is_not_to_be_made_is_not(server: ValkeyServer, url: str) -> None:
    open_backend(url, name="there").close()

    assert "there is no queue 'default' here; there is there" in refused(url, create=False)
    assert server.ask(f"SELECT {url.rpartition('=')[2]}", "EXISTS {lowq:default}") == ":0\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of a program that says this to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    asked, _ = listener.accept()
                    with asked, suppress(OSError):
                        asked.recv(1000)
                        asked.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_another_program_at_the_port_is_said() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as port:
        assert "another program answers there" in refused(f"redis://127.0.0.1:{port}")


def test_a_server_that_speaks_no_tls_is_said(server: ValkeyServer) -> None:
    said = refused(f"rediss://127.0.0.1:{server.port}", BackendUnavailable)

    assert said.endswith("does not answer: nothing came in time; the URL of a server without TLS is redis://")


def test_nobody_at_the_address_is_said_within_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    said = refused(f"redis://127.0.0.1:{port}/0", BackendUnavailable)

    assert said == f"redis://127.0.0.1:{port}/0 does not answer: Connection refused"


def test_a_missing_client_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    assert "pip install 'lowq[redis]'" in refused("redis://localhost", BackendUnavailable)


# data that was damaged


def test_a_task_whose_record_or_work_is_damaged_is_set_aside(server: ValkeyServer, url: str) -> None:
    db = f"SELECT {url.rpartition('=')[2]}"
    queue = open_backend(url)
    ids = [queue.push(each).id for each in ("record", "work", "missing", "good")]
    for command in (
        "HSET {lowq:default}:task 0000000000000001 rubbish",
        'HSET {lowq:default}:work 0000000000000002 "\\xff\\xfe"',
        "HDEL {lowq:default}:work 0000000000000003",
    ):
        server.ask(db, command)

    lease = queue.claim(lease_for=timedelta(minutes=1))

    assert lease is not None
    assert (lease.work, lease.id) == ("good", ids[3])
    assert [str(task.state) for task in queue.tasks()] == ["leased", "dead", "dead", "dead"]
    assert all("damaged: " in (task.reason or "") for task in queue.tasks()[1:])
    queue.ack(lease)
    assert all(queue.cancel(task.id) for task in queue.tasks())
    queue.close()


@pytest.mark.parametrize("part", ["ready", "scheduled", "leased", "task", "standing", "work"])
def test_a_key_that_somebody_replaced_is_said(server: ValkeyServer, url: str, part: str) -> None:
    queue = open_backend(url, dedupe="until_claimed")
    server.ask(f"SELECT {url.rpartition('=')[2]}", f"SET {{lowq:default}}:{part} theirs")

    def use() -> None:
        queue.push("x")
        queue.claim(lease_for=timedelta(minutes=1))

    with pytest.raises(CorruptQueue, match="holds something else than lowq wrote"):
        use()
    queue.close()
