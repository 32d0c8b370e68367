"""A path or URL to an opened queue, and what is said of everything else."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
from processes import wait_for

import lowq
from lowq import InvalidLocation, LowqError, SystemClock, TaskQueue, Worker, open_backend, task_queue
from lowq.backends.memory.backend import MemoryBackend
from lowq.backends.sqlite.backend import SQLiteBackend
from lowq.location import Location, beside, locate
from lowq.worker.background import active_pid, start

OURS = str(Path(lowq.__file__).parent)


def test_a_path_is_an_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert locate("jobs.db") == Location("sqlite", str(tmp_path / "jobs.db"))
    assert locate(Path("jobs.db")) == Location("sqlite", str(tmp_path / "jobs.db"))
    assert locate("/var/../jobs.db") == Location("sqlite", "/jobs.db")
    assert locate("~/jobs.db") == Location("sqlite", str(tmp_path / "home" / "jobs.db"))


def test_a_url_names_the_kind_of_queue_and_its_options() -> None:
    options = (("durability", "process"), ("patience", "5"))

    assert locate("sqlite:///a/jobs%20of%20today.db") == Location("sqlite", "/a/jobs of today.db")
    assert locate("sqlite:///jobs.db?durability=process&patience=5") == Location("sqlite", "/jobs.db", options)
    assert locate("memory://tests") == Location("memory", "tests")
    assert locate("memory://") == Location("memory", "")


def test_a_location_is_located_already() -> None:
    location = Location("memory", "x")

    assert locate(location) is location


@pytest.mark.parametrize(
    "location",
    [
        "/a/jobs.db",
        "memory://tests",
        "memory://",
        "sqlite:///a/jobs.db?durability=process",
        "/a/50%25 of it?.db",
        "memory://50%25%3F",
        "sqlite:///a/50%25%3F.db?durability=process",
        "sqlite:///a.db?patience=%26%3D",
    ],
)
def test_a_location_as_text_locates_the_same_place(location: str) -> None:
    assert locate(str(locate(location))) == locate(location)


def test_a_path_that_looks_like_a_url_is_written_as_one() -> None:
    location = locate(Path("/a/b://c.db"))

    assert locate(str(location)) == location


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("", "location: expected a path or URL, got ''"),
        ("a\0b", r"location: expected a path or URL, got 'a\\x00b'"),
        ("sqlite:///a%00b", r"location: expected a path or URL, got 'sqlite:///a%00b'"),
        ("kafka://host", "unknown kind of queue 'kafka'; known are a path, sqlite://, files://, memory://"),
        ("sqlite://jobs.db", "a sqlite URL has an absolute path: sqlite:///var/lib/jobs.db"),
        ("postgresql:/eve:tops3cret@host/db", "postgresql:…: a URL begins with postgresql://"),
        ("Redis:eve:tops3cret@host?a=b://c", "Redis:…: a URL begins with redis://; a file .* is ./Redis:…$"),
        ("http:/eve:tops3cret@host", "http:…: a URL begins with http://"),
        ("memory://x?durability", r"expected \?option=value&…, got 'durability'"),
    ],
)
def test_what_is_no_location_is_refused(location: str, said: str) -> None:
    with pytest.raises(InvalidLocation, match=said):
        locate(location)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (7, "location: expected a path or URL, got int"),
        (b"jobs.db", "location: expected a path or URL, got bytes"),
        (None, "location: expected a path or URL, got NoneType"),
    ],
)
def test_what_is_no_text_is_a_type_error(location: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        locate(location)


def test_the_backend_of_a_location_is_opened(tmp_path: Path) -> None:
    with closing(open_backend(tmp_path / "q.db")) as sqlite, closing(open_backend("memory://x")) as memory:
        assert type(sqlite) is SQLiteBackend
        assert type(memory) is MemoryBackend


def test_an_unknown_option_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidLocation, match="unknown option 'durable'; sqlite knows durability, patience, create"):
        open_backend(tmp_path / "q.db", durable=True)
    with pytest.raises(InvalidLocation, match="memory://x: unknown option 'durability'; memory knows none"):
        open_backend("memory://x", durability="power")
    for option, said in (
        ("durabilty=power", r"knows durability, patience, create, shared; did you mean durability\?"),
        ("Patience=5", r"; did you mean patience\?"),
        ("timeout=5", r"; did you mean patience\?"),
        ("fsync=off", r"; did you mean durability\?"),
        ("name=mail", "; it is no part of the URL: say name=… to open_backend or to the queue"),
        ("zebra=1", "shared$"),
    ):
        with pytest.raises(InvalidLocation, match=said):
            open_backend(f"sqlite://{tmp_path}/q.db?{option}")

    assert list(tmp_path.iterdir()) == []


def test_an_option_that_is_said_twice_in_two_ways_is_refused() -> None:
    with pytest.raises(InvalidLocation, match="the option 'patience' is said twice, with two values"):
        locate("sqlite:///q.db?patience=1&create=false&patience=2")

    assert locate("sqlite:///q.db?patience=1&patience=1").options[0] == ("patience", "1")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"name": ""}, ValueError, "name: expected 1 to 200 printable characters, got ''"),
        ({"name": "a\n"}, ValueError, r"name: expected 1 to 200 printable characters, got 'a\\n'"),
        ({"name": "x" * 201}, ValueError, "name: expected 1 to 200 printable characters"),
        ({"name": 7}, TypeError, "name: expected a string, got int"),
        (
            {"dedupe": "sometimes"},
            ValueError,
            "dedupe: expected until_done, until_claimed, off or None, got 'sometimes'",
        ),
        ({"dedupe": True}, ValueError, "dedupe: expected until_done, until_claimed, off or None, got True"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    for location in (tmp_path / "q.db", f"memory://{tmp_path}"):
        with pytest.raises(error, match=said):
            open_backend(location, **arguments)

    assert list(tmp_path.iterdir()) == []


def test_each_name_has_files_of_its_own_beside_the_database() -> None:
    assert beside("/a/q.db", "lock", "default") == Path("/a/q.db-lock")
    assert beside("/a/q.db", "lock", "mails") == Path("/a/q.db-lock.mails")
    odd = [beside("/a/q.db", "lock", name) for name in ("a/b", "A", "a", ".", "..", "é", "x" * 200)]
    assert len(set(odd)) == len(odd)
    assert all(path.parent == Path("/a") for path in odd)
    assert all(len(path.name) < 100 for path in odd)


class TestOneFileByManyNames:
    """The files beside a queue are named after what the file is, whichever name led to it."""

    @staticmethod
    def other_name(path: Path, kind: str) -> Path:
        link = path.with_name("another.db")
        if kind == "symbolic link":
            link.symlink_to(path)
        elif kind == "link to the folder":
            folder = path.parent.with_name("another")
            folder.symlink_to(path.parent)
            return folder / path.name
        elif kind == "hard link":
            os.link(path, link)
        elif kind == "dots":
            return path.parent / ".." / path.parent.name / path.name
        return link

    @pytest.mark.parametrize("kind", ["symbolic link", "link to the folder", "hard link", "dots"])
    def test_there_is_one_worker_and_one_wake_up(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "place").mkdir()
        path = tmp_path / "place" / "jobs.db"
        queue = open_backend(path)
        queue.push("later", not_before=SystemClock().now() + timedelta(minutes=5))
        book = tmp_path / "book"

        def handler(work: object) -> None:
            with book.open("a") as file:
                file.write(f"{work}\n")

        assert start(Worker(queue, handler), path)
        wait_for(lambda: active_pid(path) is not None)
        name = self.other_name(path, kind)
        other = open_backend(name)
        other.push("by the other name")
        started = start(Worker(other, handler), name)
        pid = active_pid(name)
        wait_for(lambda: book.exists() and book.read_text() == "by the other name\n")

        assert not started
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: active_pid(path) is None)
        assert [task.work for task in queue.tasks()] == [task.work for task in other.tasks()] == ["later"]
        queue.close()
        other.close()
        beside = {each.name for each in path.parent.iterdir()} - {"jobs.db", "another.db"}
        assert all(each.startswith("jobs.db-") for each in beside)

    def test_one_handler_runs_the_tasks_of_both_names(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.db"
        link = tmp_path / "another.db"
        link.symlink_to(path)
        first, second = self.handlers()
        made = task_queue(path)(first)

        with pytest.raises(ValueError, match="are run by"):
            task_queue(link)(second)
        made.queue.close()

    @staticmethod
    def handlers() -> tuple[Any, Any]:
        def first(queue: object, work: object) -> None: ...
        def second(queue: object, work: object) -> None: ...

        return first, second

    def test_a_name_in_another_folder_is_refused_since_sqlite_would_damage_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.db"
        open_backend(path).close()
        (tmp_path / "elsewhere").mkdir()
        os.link(path, tmp_path / "elsewhere" / "jobs.db")

        with pytest.raises(InvalidLocation, match=r"1 more name \(hard links\) in other folders"):
            open_backend(path)


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("postgresql://u:tops3cret@127.0.0.1:1/x", {}),
        ("postgresql://127.0.0.1:1/x", {"password": "tops3cret"}),
        ("postgresql://u:tops3cret@127.0.0.1:x/x", {}),
        ("redis://u:tops3cret@127.0.0.1:1", {}),
        ("postgresql:/u:tops3cret@127.0.0.1/x", {}),
        ("http://u:tops3cret@127.0.0.1:x", {}),
        ("http://u:tops3cret\uff0f@127.0.0.1", {}),
        ("http://u:tops3cret", {}),
        ("mysql://u:tops3cret@127.0.0.1/x", {}),
        ("redis://127.0.0.1?password=tops3cret&x", {}),
        ("redis+unix:///nowhere", {"password": "tops3cret"}),
        ("http://127.0.0.1:1", {"token": "tops3cret"}),
    ],
)
def test_no_frame_of_an_error_has_a_password(location: str, options: dict[str, str]) -> None:
    """What reports errors, as Sentry does, shows what stands in the frames: its own of lowq are lowq's affair."""
    given: dict[str, Any] = {**options, "patience": "0"}

    class Application(TaskQueue):
        path = location
        options = given

        def process(self, work: Any) -> None: ...

    told: list[str] = []
    for opening in (lambda: open_backend(location, **given), lambda: Application().push(1)):
        with pytest.raises(LowqError) as raised:
            opening()
        shown = TracebackException.from_exception(raised.value, capture_locals=True)
        told.append(f"{shown}")
        told += [str(frame.locals) for frame in shown.stack if frame.filename.startswith(OURS)]

    assert len(told) >= 4
    assert "tops3cret" not in str(told)
