"""The commands on a queue that a database server keeps; what they print has no password in it."""

from __future__ import annotations

import json
import re
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


@pytest.fixture(params=["postgres", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL with a password in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    where = str(request.getfixturevalue(f"lowq_{request.param}"))
    server = request.getfixturevalue(f"lowq_{request.param}_server")
    if isinstance(server, PostgresServer):
        server.address.run(f"CREATE USER ann SUPERUSER PASSWORD '{SECRET}'")
        yield where.replace("postgres@", f"ann:{SECRET}@")
        server.address.run("DROP USER ann")
    else:
        server.ask(f"ACL SETUSER ann reset on >{SECRET} +@all ~*")
        yield where.replace("://", f"://ann:{SECRET}@")
        server.ask("ACL DELUSER ann")


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
    assert said("push", url, '{"a": 1}', '"b"').split()[::2] == ["pushed", "pushed"]
    assert '"b"' in said("list", url)
    assert json.loads(said("count", url, "--json"))["ready"] == 2
    assert "done" in said("work", url, "--drain", "--", "cat")
    with closing(open_backend(url)) as queue:
        assert queue.count() == Counts()


@pytest.mark.parametrize("command", ["list", "work"])
def test_a_wrong_password_is_told_and_not_shown(url: str, command: str) -> None:
    wrong = url.replace(SECRET, f"{SECRET}X")
    more = {"work": ["--drain", "--", "cat"]}.get(command, [])

    assert re.search(
        "password authentication failed|the password, or the user, is wrong", said(command, wrong, *more, status=2)
    )


def test_a_location_that_is_named_in_the_wrong_place_is_told_without_its_password(url: str) -> None:
    assert "is a location" in said("work", url, status=2)
    assert "is a location" in said("work", url, "app:f", "app:g", status=2)
    assert "unexpected extra argument" in said("count", url, url, status=2)


def test_a_worker_in_the_background_runs_what_is_pushed(url: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    output = subprocess.run(
        [sys.executable, "app.py", url], cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=True
    )
    logs = [file.read_text() for file in (tmp_path / "state").rglob("*-log")]

    assert json.loads((tmp_path / "done").read_text()) == [{"a": 1}, 2]
    assert output.stderr == ""
    assert len(logs) == 1
    assert "is done" in logs[0]
    assert SECRET not in output.stdout + logs[0]


APP = """
import json, sys, time
from datetime import timedelta
from pathlib import Path
from lowq import TaskQueue, task_queue

ran = []

@task_queue(sys.argv[1], log_level=TaskQueue.INFO, linger=timedelta(0))
def note(queue, work):
    queue.info("with the work", work)
    ran.append(work)
    Path("made").write_text(json.dumps(ran))
    if len(ran) == 2:
        Path("made").rename("done")

if __name__ == "__main__":
    note({"a": 1}, 2)
    while not Path("done").exists() or note.queue.active_pid is not None:
        time.sleep(0.01)
    print(repr(note))
"""


def test_a_queue_on_a_server_is_served(url: str) -> None:
    said("push", url, "1")
    server = lowq("serve", url, "--port", "0")
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        with urlopen(f"{first.split()[0]}tasks", timeout=BOUND) as page:
            shown = page.read().decode()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.stdout is not None
        rest = server.stdout.read()  # communicate() would lose what was read ahead
        server.communicate(timeout=BOUND)

    assert "://ann:…@/" in first
    assert "1 ready" in shown or ">1<" in shown
    assert SECRET not in first + shown + rest
    assert server.returncode in (0, -signal.SIGTERM)


NOTES = """
def note(work):
    print(work, flush=True)
"""


def test_of_two_workers_once_per_cluster_one_runs_and_the_other_takes_over(
    lowq_postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(NOTES)
    monkeypatch.chdir(tmp_path)
    first, second = (lowq("work", lowq_postgres, "app:note", "--once-per-cluster") for _ in range(2))
    lines: dict[int, list[str]] = {}
    for worker in (first, second):
        assert worker.stdout is not None
        lines[worker.pid] = [worker.stdout.readline() for _ in range(2)]
    claims = {pid for pid, said in lines.items() if "this worker claims" in said[1]}
    assert len(claims) == 1, lines
    if second.pid in claims:
        first, second = second, first
    assert lines[second.pid][1] == "queue default: another worker claims, this one stands by\n"
    assert first.stdout is not None
    assert second.stdout is not None

    said("push", lowq_postgres, '"one"')
    assert first.stdout.readline() == "one\n"
    first.kill()
    said("push", lowq_postgres, '"two"')

    assert second.stdout.readline() == "queue default: this worker claims, others stand by\n"
    assert second.stdout.readline() == "two\n"
    second.send_signal(signal.SIGTERM)
    assert second.stdout.readline() == "1 done\n"
    for worker in (first, second):
        worker.communicate(timeout=BOUND)
    assert second.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["q.db", "--drain"], "once per cluster goes with postgresql://"),
        (["q.db", "--processes", "2"], "it goes with --processes 1"),
    ],
)
def test_what_cannot_be_run_once_per_cluster_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "app.py").write_text(NOTES)
    monkeypatch.chdir(tmp_path)
    place, *options = arguments
    assert complaint in said("work", place, "app:note", "--once-per-cluster", *options, status=2)
