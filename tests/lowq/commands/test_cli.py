"""The command `lowq`: what it prints, what it refuses, and the exit codes that scripts rely on.

Long: each command has a class of its own, with its tables of bad input.
"""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from processes import wait_for

from lowq import FakeClock, open_backend
from lowq.cli import main
from lowq.clock import SystemClock

MINUTE = timedelta(minutes=1)


class Answer:
    """What a command said and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON lines of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


Lowq = Callable[..., Answer]


@pytest.fixture
def lowq(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Run the command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(arguments)
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) <= 2
        return Answer(code, captured.out, captured.err)

    return run


def shell(
    *arguments: str,
    cwd: Path,
    stdin: bytes = b"",
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would; what it writes is caught where nothing else is to take it."""
    return subprocess.run(
        [sys.executable, "-m", "lowq", *arguments],
        cwd=cwd,
        input=stdin.decode(),
        stdout=stdout or subprocess.PIPE,
        stderr=stderr or subprocess.PIPE,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )


def on_a_terminal(
    *arguments: str, cwd: Path, stdin: Path | None = None, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run the command on a pseudo-terminal of 100 columns; its exit code and all that was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lowq", *arguments],
        cwd=cwd,
        stdin=slave if stdin is None else os.open(stdin, os.O_RDONLY | os.O_CLOEXEC),
        stdout=slave,
        stderr=slave,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", **(env or {})},
    )
    os.close(slave)
    shown = bytearray()
    try:
        while select.select([master], [], [], 60)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux says so when the last end of the terminal is closed
                break
            if not part:
                break
            shown += part
        return process.wait(60), shown.decode()
    finally:
        process.kill()
        os.close(master)


def works(path: Path, name: str = "default") -> list[Any]:
    """The works in the queue, in claim order."""
    backend = open_backend(path, name=name)
    try:
        return [task.work for task in backend.tasks()]
    finally:
        backend.close()


def kill_a_task(path: Path, work: object) -> str:
    """Push `work` and set it aside as dead; the id."""
    backend = open_backend(path)
    try:
        backend.push(work, priority=1000)
        lease = backend.claim(lease_for=MINUTE)
        assert lease is not None
        backend.dead_letter(lease, reason="ValueError: no such user")
        return lease.id
    finally:
        backend.close()


class TestPush:
    def test_works_are_pushed_in_order(self, lowq: Lowq, tmp_path: Path) -> None:
        answer = lowq("push", "q.db", '{"user": 1}', "null", '"é\\u0000"')

        assert (answer.code, answer.out, answer.err) == (0, "pushed 1\npushed 2\npushed 3\n", "")
        assert works(tmp_path / "q.db") == [{"user": 1}, None, "é\0"]

    def test_an_equal_work_stands_already_and_that_is_done_too(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", '{"a": 1, "b": 2}')

        answer = lowq("push", "q.db", '{"b": 2, "a": 1}')

        assert (answer.code, answer.out) == (0, "stands 1: an equal work is in the queue\n")
        assert len(works(tmp_path / "q.db")) == 1

    def test_json_answers_one_object_a_work(self, lowq: Lowq) -> None:
        answer = lowq("push", "q.db", "1", "2", "1", "--json")

        assert answer.objects == [
            {"id": "1", "added": True},
            {"id": "2", "added": True},
            {"id": "1", "added": False},
        ]

    def test_options_say_key_priority_name_and_time(self, lowq: Lowq) -> None:
        before = SystemClock().now()
        options = ["--key", "k", "--priority", "7", "--at", "2999-01-01T13:00+01:00", "--name", "mail"]
        lowq("push", "q.db", "1", *options, "--header", "traceparent=00-a=b", "--header", "é=")

        (task,) = lowq("list", "q.db", "--name", "mail", "--json").objects

        assert before <= datetime.fromisoformat(task.pop("pushed_at")) <= SystemClock().now()
        assert task == (
            {
                "id": "1",
                "work": 1,
                "key": "k",
                "priority": 7,
                "not_before": "2999-01-01T12:00:00Z",
                "attempts": 0,
                "state": "scheduled",
                "reason": None,
                "headers": {"traceparent": "00-a=b", "é": ""},
            }
        )

    def test_headers_go_with_each_work_and_each_line(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1", "2", "--header", "a=b")
        lowq("push", "q.db", "-", "--header", "c=d", stdin=b"3\n4\n")

        headers = [task["headers"] for task in lowq("list", "q.db", "--json").objects]

        assert headers == [{"a": "b"}, {"a": "b"}, {"c": "d"}, {"c": "d"}]

    @pytest.mark.parametrize(
        ("headers", "told"),
        [
            (["a"], "Invalid value for '--header': 'a': expected NAME=VALUE"),
            (["=b"], "Invalid value for '--header': '=b': expected NAME=VALUE"),
            (["a=1", "b=2", "a=3"], "--header: 'a' is named twice"),
            (["a=\udcff"], "Invalid value for '--header': 'a': the lone surrogate '\\udcff' is not JSON"),
        ],
    )
    def test_a_header_that_is_none_is_refused(
        self, lowq: Lowq, tmp_path: Path, headers: list[str], told: str
    ) -> None:
        answer = lowq("push", "q.db", "1", *(word for each in headers for word in ("--header", each)))

        assert (answer.code, answer.err.splitlines()[0]) == (2, f"lowq push: {told}")
        assert not (tmp_path / "q.db").exists()

    def test_a_delay_counts_from_now(self, lowq: Lowq, tmp_path: Path) -> None:
        before = SystemClock().now()
        lowq("push", "q.db", "1", "--in", "1h30m")
        after = SystemClock().now()

        backend = open_backend(tmp_path / "q.db")
        (task,) = backend.tasks()
        backend.close()
        assert task.not_before is not None
        assert before <= task.not_before - timedelta(minutes=90) <= after

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["{"], "WORK 1: not JSON: Expecting property name enclosed in double quotes at character 2"),
            (["1", "hello"], "WORK 2: not JSON"),
            (["[1, NaN]"], "NaN is not JSON"),
            (["1e999"], "work: inf is not JSON"),
            (['{"a": "\\ud800"}'], "work.a: the lone surrogate"),
            (["[" * 5000 + "]" * 5000], "nested"),
            (["9" * 5000], "digits"),
            (["1", "--priority", "high"], "'high' is not a valid integer"),
            (["1", "--priority", "2147483648"], "not in the range"),
            (["1", "--in", "30"], "'30' is no duration"),
            (["1", "--in", "999999999w"], "too long"),
            (["1", "--in", "900000w"], "is too long; 1000000 days is the longest"),
            (["1", "--at", "tomorrow"], "'tomorrow' is no ISO 8601 time"),
            (["1", "--at", "2030-01-01T12:00"], "no time zone; write 2030-01-01T12:00Z"),
            (["1", "--at", "1969-01-01T12:00Z"], "outside 1970 to 9999"),
            (["1", "--at", "2030-01-01T12:00Z", "--in", "1s"], "give one of them"),
            (["1", "2", "--key", "k"], "--key is for one WORK"),
            (["-", "--key", "k"], "--key is for one WORK"),
            (["-", "1"], "give no other WORK"),
            (["1", "--name", ""], "1 to 200 printable characters"),
            (["-5"], "write -- before a WORK that begins with a minus"),
            ([], "Missing argument 'WORK"),
        ],
    )
    def test_bad_input_is_named_and_makes_no_queue(
        self, lowq: Lowq, tmp_path: Path, arguments: list[str], complaint: str
    ) -> None:
        answer = lowq("push", "q.db", *arguments)

        assert answer.code == 2
        assert complaint in answer.err
        assert list(tmp_path.iterdir()) == []

    def test_a_bad_key_is_named_and_pushes_nothing(self, lowq: Lowq, tmp_path: Path) -> None:
        answer = lowq("push", "q.db", "1", "--key", "\udc80")

        assert answer.code == 2
        assert "key: the lone surrogate" in answer.err
        assert works(tmp_path / "q.db") == []

    def test_a_negative_number_is_a_work_behind_two_dashes(self, lowq: Lowq, tmp_path: Path) -> None:
        assert lowq("push", "q.db", "--", "-5").code == 0

        assert works(tmp_path / "q.db") == [-5]


class TestPushingLines:
    def test_lines_are_pushed_and_empty_ones_passed_over(self, lowq: Lowq, tmp_path: Path) -> None:
        answer = lowq("push", "q.db", "-", stdin=b'1\n\n{"a": "\xc3\xa9"}\n1\n"last line, no newline"')

        assert (answer.code, answer.out) == (0, "pushed 3; 1 stood in the queue already\n")
        assert works(tmp_path / "q.db") == [1, {"a": "é"}, "last line, no newline"]

    def test_a_bad_line_is_named_and_nothing_of_its_batch_is_kept(self, lowq: Lowq, tmp_path: Path) -> None:
        answer = lowq("push", "q.db", "-", "--batch", "2", stdin=b"1\n2\n3\n\nfour\n5\n")

        assert answer.code == 2
        assert answer.err == (
            "lowq: line 5: not JSON: Expecting value at character 1\n"
            "Lines 1 to 2 were pushed, nothing from line 3 on; correct the line and push from there.\n"
        )
        assert works(tmp_path / "q.db") == [1, 2]

    def test_a_bad_first_batch_pushes_nothing(self, lowq: Lowq, tmp_path: Path) -> None:
        answer = lowq("push", "q.db", "-", stdin=b"1\n\xff\n")

        assert answer.code == 2
        assert answer.err.splitlines() == [
            "lowq: line 2: byte 1 is not UTF-8",
            "Nothing was pushed; correct the line and push again.",
        ]
        assert works(tmp_path / "q.db") == []

    def test_no_lines_are_no_tasks(self, lowq: Lowq) -> None:
        answer = lowq("push", "q.db", "-")

        assert (answer.code, answer.out) == (0, "pushed 0\n")

    def test_json_answers_one_object_a_line(self, lowq: Lowq) -> None:
        answer = lowq("push", "q.db", "-", "--json", stdin=b"7\n7\n")

        assert answer.objects == [{"id": "1", "added": True}, {"id": "1", "added": False}]


class TestList:
    def test_the_table_shows_tasks_in_claim_order_and_counts_them(self, lowq: Lowq, tmp_path: Path) -> None:
        kill_a_task(tmp_path / "q.db", "gone wrong")
        lowq("push", "q.db", '{"a": 1}')
        lowq("push", "q.db", '"urgent"', "--priority", "5", "--key", "k")
        lowq("push", "q.db", "3", "--at", "2999-01-01T12:00:00.5Z")

        answer = lowq("list", "q.db")

        assert [line.rstrip() for line in answer.out.splitlines()] == [
            "id  state      priority  attempts  not before                   key  work",
            ' 3  ready             5         0                               k    "urgent"',
            ' 2  ready             0         0                                    {"a":1}',
            " 4  scheduled         0         0  2999-01-01T12:00:00.500000Z       3",
            ' 1  dead           1000         1                                    "gone wrong"',
            "2 ready, 1 scheduled, 0 leased, 1 dead",
        ]

    def test_state_limit_and_after_page_through_a_queue(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1", "2", "3", "4", "5")

        first = lowq("list", "q.db", "--limit", "2", "--json").objects
        rest = lowq("list", "q.db", "--after", first[-1]["id"], "--json").objects

        assert [task["work"] for task in first + rest] == [1, 2, 3, 4, 5]
        assert lowq("list", "q.db", "--state", "dead", "--json").objects == []

    def test_a_table_that_is_cut_says_how_to_go_on(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1", "2", "3")

        assert lowq("list", "q.db", "--limit", "2").out.endswith("; the next page: --after 2\n")
        assert "next page" not in lowq("list", "q.db", "--limit", "3").out

    def test_a_page_behind_a_task_that_is_gone_says_so(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1")

        answer = lowq("list", "q.db", "--after", "99")

        assert (answer.code, answer.err) == (1, "lowq: there is no task 99 any more; list again from the start\n")

    def test_all_pages_are_listed_as_json(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "-", stdin=b"\n".join(b"%d" % n for n in range(2500)))

        assert [task["work"] for task in lowq("list", "q.db", "--json").objects] == list(range(2500))

    def test_a_work_cannot_steer_the_terminal(self, lowq: Lowq) -> None:
        lowq("push", "q.db", '"\\u009b31m \\u202e \\u007f"', "--key", "\x1b[2J")

        for answer in (lowq("list", "q.db"), lowq("show", "q.db", "1")):
            assert answer.out.replace("\n", "").isprintable()
            assert "\\x1b[2J" in answer.out


HOSTILE = "\x1b[2J\x9b31m\u202eevil\u2066\u2028\x7f\U000e0001 é"


class TestHostileText:
    """What a stranger wrote into a queue, or called a file, steers no terminal."""

    def test_json_escapes_what_a_terminal_obeys(self, lowq: Lowq) -> None:
        lowq("push", "q.db", json.dumps(HOSTILE), "--key", HOSTILE)

        for said in (lowq("list", "q.db", "--json"), lowq("show", "q.db", "1", "--json")):
            (found,) = said.objects
            assert (found["work"], found["key"]) == (HOSTILE, HOSTILE)
            assert said.out.rstrip("\n").isprintable()
            assert "é" in said.out

    @pytest.mark.parametrize(
        "arguments",
        [
            ("list", f"{HOSTILE}.db"),
            ("push", f"no/{HOSTILE}.db", "1"),
            ("list", f"{HOSTILE}://"),
            ("work", "q.db", f"{HOSTILE}:{HOSTILE}"),
            ("show", "q.db", HOSTILE),
            ("cancel", "q.db", HOSTILE),
            ("list", "q.db", "--after", HOSTILE),
            ("push", "q.db", HOSTILE),
            ("list", "q.db", "--name", HOSTILE),
            (HOSTILE,),
            ("list", f"--{HOSTILE}", "q.db"),
        ],
    )
    def test_a_message_shows_it_by_its_escapes(self, lowq: Lowq, arguments: tuple[str, ...]) -> None:
        lowq("push", "q.db", "1")

        said = lowq(*arguments)

        assert said.code != 0
        assert said.err.replace("\n", "").isprintable()


class TestShow:
    def test_one_task_is_shown_whole(self, lowq: Lowq, tmp_path: Path) -> None:
        id = kill_a_task(tmp_path / "q.db", {"text": "x" * 300})

        shown = lowq("show", "q.db", id)

        assert shown.code == 0
        assert '"text": "' + "x" * 300 in shown.out
        assert "ValueError: no such user" in shown.out
        (task,) = lowq("show", "q.db", id, "--json").objects
        assert f"pushed at  {task.pop('pushed_at')}" in shown.out
        assert task == (
            {
                "id": "1",
                "work": {"text": "x" * 300},
                "key": None,
                "priority": 1000,
                "not_before": None,
                "attempts": 1,
                "state": "dead",
                "reason": "ValueError: no such user",
                "headers": {},
            }
        )

    def test_headers_are_shown_and_fool_no_terminal(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1", "--header", "who=Åsa", "--header", "x=a\nwork       2\x1b[2J\u202e")

        shown = lowq("show", "q.db", "1").out

        assert '"who": "Åsa"' in shown
        assert '"x": "a\\nwork       2\\u001b[2J\\u202e"' in shown
        assert "headers" not in lowq("show", "q.db", "2").out

    def test_a_task_that_is_not_there_is_a_no(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1")

        for id in ("7", "x", "-1" * 50, ""):
            answer = lowq("show", "q.db", "--", id)
            assert (answer.code, answer.out) == (1, "")
            assert "there is no task" in answer.err


class TestCancel:
    def test_a_cancelled_task_is_gone(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "1", "2")

        assert lowq("cancel", "q.db", "1").out == "cancelled 1\n"
        assert works(tmp_path / "q.db") == [2]

    def test_a_leased_task_and_a_missing_one_are_a_no(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "1", "2")
        backend = open_backend(tmp_path / "q.db")
        backend.claim(lease_for=MINUTE)
        backend.close()

        answer = lowq("cancel", "q.db", "1", "2", "9", "--json")

        assert answer.code == 1
        assert answer.objects == [
            {"id": "1", "cancelled": False, "why": "it is leased: a worker has it in hand"},
            {"id": "2", "cancelled": True, "why": None},
            {"id": "9", "cancelled": False, "why": "there is no such task"},
        ]


class TestCancelByKeyAndState:
    def test_by_key_and_by_state(self, lowq: Lowq) -> None:
        lowq("push", "q.db", "1", "--key", "a")
        lowq("push", "q.db", "2", "--key", "b", "--in", "1h")
        lowq("push", "q.db", "3", "--in", "1h")

        assert lowq("cancel", "q.db", "--key", "a").out == "cancelled 1\n"
        assert lowq("cancel", "q.db", "--key", "a").code == 1
        assert lowq("cancel", "q.db", "--state", "scheduled", "--key", "b").out == "cancelled 2\n"
        assert lowq("cancel", "q.db", "--state", "scheduled", "--json").objects == [
            {"id": "3", "cancelled": True, "why": None}
        ]
        assert lowq("cancel", "q.db", "1", "--key", "a").code == 2
        assert lowq("cancel", "q.db").code == 2

    def test_purge_deletes_dead_tasks_when_it_may(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "1", "2")
        kill_a_task(tmp_path / "q.db", 1)

        refused = lowq("purge", "q.db")
        purged = lowq("purge", "q.db", "--yes")

        assert (refused.code, refused.out) == (2, "")
        assert "1 dead tasks would be gone for good: say --yes" in refused.err
        assert (purged.code, purged.out) == (0, "purged 1\n")
        assert works(tmp_path / "q.db") == [2]
        assert lowq("purge", "q.db", "--json").objects == [{"purged": 0}]


class TestCount:
    def test_it_says_how_long_the_oldest_is_due(self, lowq: Lowq, tmp_path: Path) -> None:
        clock = FakeClock(SystemClock().now() - timedelta(hours=2))
        queue = open_backend(tmp_path / "q.db", clock=clock)
        queue.push("old", not_before=clock.now() + timedelta(hours=1))
        queue.push("urgent", priority=9, not_before=clock.now() + timedelta(hours=1.5))
        queue.close()
        lowq("push", "q.db", '"later"', "--in", "1h")

        (found,) = lowq("count", "q.db", "--json").objects
        said = lowq("count", "q.db", "--max-age", "2h", "--max-dead", "0", "--max-ready", "2")
        too_old = lowq("count", "q.db", "--max-age", "30m", "--max-ready", "1")

        assert {**found, "age": 0, "due_since": ""} == {
            "ready": 2,
            "scheduled": 1,
            "leased": 0,
            "dead": 0,
            "due_since": "",
            "age": 0,
        }
        assert 3600 <= found["age"] < 4000
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("2 ready, 1 scheduled, 0 leased, 0 dead; the oldest is due for 1:0")
        assert too_old.code == 1
        assert too_old.err.startswith("lowq: ready: 2, more than 1\nlowq: due for 1:0")

    def test_list_says_that_nobody_runs_what_is_due(self, lowq: Lowq, tmp_path: Path) -> None:
        queue = open_backend(tmp_path / "q.db", clock=FakeClock(SystemClock().now() - timedelta(hours=2)))
        queue.push("old")
        before = lowq("list", "q.db").out
        queue.claim(lease_for=timedelta(days=1))
        queue.push("behind")
        queue.close()

        assert before.rstrip().endswith("Z, no worker")
        assert "; due since 20" in before
        assert "no worker" not in lowq("list", "q.db").out
        assert lowq("count", "q.db", "--max-age", "1m").code == 1

    @pytest.mark.parametrize("location", ["{}/q.db", "files://{}/q", "sqlite://{}/app.db?shared=true"])
    def test_list_says_when_the_next_is_due_for_which_no_worker_stays(
        self, lowq: Lowq, tmp_path: Path, location: str
    ) -> None:
        location = location.format(tmp_path)
        with closing(open_backend(location)) as queue:
            queue.push("later", not_before=SystemClock().now() + timedelta(hours=2))
            before = lowq("list", location).out
            queue.push("now")

        assert "; next due 20" in before
        assert before.rstrip().endswith("Z, no worker in the background")
        assert "in the background" not in lowq("list", location).out


class TestBackup:
    def test_a_copy_is_whole_while_somebody_has_the_queue_open(self, lowq: Lowq, tmp_path: Path) -> None:
        queue = open_backend(tmp_path / "q.db", name="mail")
        queue.push("still in the log")

        answer = lowq("backup", "q.db", "copy.db")

        assert (answer.code, answer.out) == (0, "copied q.db to copy.db\n")
        assert works(tmp_path / "copy.db", "mail") == ["still in the log"]
        assert sorted(each.name for each in tmp_path.iterdir() if "half" in each.name) == []
        queue.close()

    def test_what_stands_there_and_what_is_no_queue_is_refused(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "1")
        (tmp_path / "taken").write_text("mine")
        with sqlite3.connect(tmp_path / "other.db") as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()

        codes = [
            lowq("backup", *each.split()).code
            for each in ("q.db taken", "other.db copy", "nosuch.db copy", "memory:// copy", "q.db no/copy")
        ]

        assert codes == [2, 2, 2, 2, 3]
        assert (tmp_path / "taken").read_text() == "mine"
        assert not (tmp_path / "copy").exists()


class TestRawErrors:
    """What nobody means is refused by name, in two lines, and never by a traceback."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("work", "q.db", "app:send", "--drain", "--lease", "4000000d"),
            ("work", "q.db", "app:send", "--drain", "--time-limit", "999999999d"),
            ("work", "q.db", "app:send", "--drain", "--max-attempts", "0"),
            ("push", "q.db", "1", "--in", "999999999d"),
            ("push", "q.db", "1", "--in", "9" * 400 + "d"),
            ("count", "q.db", "--max-age", "9" * 400 + "w"),
            ("list", "sqlite:///tmp/lowq-nosuch.db?patience=-1"),
            ("list", "sqlite:///tmp/lowq-nosuch.db?patience=inf"),
            ("list", "sqlite:///tmp/lowq-nosuch.db?patience=nan"),
            ("list", "sqlite:///tmp/lowq-nosuch.db?patience=1e300"),
            ("show", "q.db", "9" * 5000),
            ("list", "q.db", "--after", "9" * 5000),
            ("cancel", "q.db", "9" * 5000),
            ("cancel", "q.db", "\udc80"),
            ("list", "\udc80.db"),
            ("push", "q.db", "[" * 100_000),
            ("push", "q.db", "9" * 5000),
        ],
        ids=lambda arguments: " ".join(arguments)[:40].encode("ascii", "backslashreplace").decode(),
    )
    def test_is_refused(self, lowq: Lowq, arguments: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("def send(work): ...")
        lowq("push", "q.db", "1")

        assert lowq(*arguments).code in (1, 2, 3)

    @pytest.mark.parametrize("limit", [10**18, 10**30, 10**400])
    def test_a_limit_above_all_is_no_limit(self, lowq: Lowq, limit: int) -> None:
        lowq("push", "q.db", "1")

        assert len(lowq("list", "q.db", "--json", "--limit", str(limit)).objects) in (0, 1)

    def test_standard_input_that_is_closed_is_said_so(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            ["sh", "-c", f"{sys.executable} -m lowq push q.db - <&-"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        ) as process:
            _, err = process.communicate(timeout=60)

        assert process.returncode == 2
        assert len(err.splitlines()) <= 2
        assert "Traceback" not in err


class TestRedrive:
    def test_dead_tasks_wait_again(self, lowq: Lowq, tmp_path: Path) -> None:
        kill_a_task(tmp_path / "q.db", "a")
        kill_a_task(tmp_path / "q.db", "b")

        assert lowq("redrive", "q.db", "1").out == "redriven 1\n"
        assert lowq("redrive", "q.db", "--all").out == "redriven 2\n"
        assert [
            (task["work"], task["state"], task["attempts"]) for task in lowq("list", "q.db", "--json").objects
        ] == [
            ("a", "ready", 0),
            ("b", "ready", 0),
        ]

    def test_what_is_not_dead_or_would_be_a_duplicate_is_a_no(self, lowq: Lowq, tmp_path: Path) -> None:
        kill_a_task(tmp_path / "q.db", "a")
        lowq("push", "q.db", '"a"')

        answer = lowq("redrive", "q.db", "1", "2", "3", "--json")

        assert answer.code == 1
        assert [each["why"] for each in answer.objects] == [
            "an equal work stands in the queue already",
            "it is ready, not dead",
            "there is no such task",
        ]

    @pytest.mark.parametrize("arguments", [[], ["1", "--all"]])
    def test_either_ids_or_all(self, lowq: Lowq, arguments: list[str]) -> None:
        lowq("push", "q.db", "1")

        assert lowq("redrive", "q.db", *arguments).code == 2


class TestLocations:
    @pytest.mark.parametrize("command", [["list"], ["show", "1"], ["cancel", "1"], ["redrive", "--all"]])
    def test_a_command_that_does_not_push_makes_no_queue(
        self, lowq: Lowq, tmp_path: Path, command: list[str]
    ) -> None:
        answer = lowq(command[0], "missing.db", *command[1:])

        assert answer.code == 2
        assert "missing.db" in answer.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("command", [["push", "1"], ["list"]])
    @pytest.mark.parametrize("location", ["nosuch://x", "memory://x", "", "sqlite:///q.db?colour=red", "folder"])
    def test_what_is_no_queue_is_refused(self, lowq: Lowq, tmp_path: Path, command: list[str], location: str) -> None:
        (tmp_path / "folder").mkdir()

        answer = lowq(command[0], location, *command[1:])

        assert answer.code == 2
        assert answer.err

    @pytest.mark.parametrize("command", [["push", "1"], ["list"]])
    def test_a_file_that_is_something_else_is_refused_and_left_alone(
        self, lowq: Lowq, tmp_path: Path, command: list[str]
    ) -> None:
        (tmp_path / "notes.txt").write_text("Dear diary, " * 500)

        answer = lowq(command[0], "notes.txt", *command[1:])

        assert answer.code == 2
        assert "notes.txt" in answer.err
        assert (tmp_path / "notes.txt").read_text() == "Dear diary, " * 500
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_directory_that_does_not_exist_is_named(self, lowq: Lowq) -> None:
        answer = lowq("push", "no/such/folder/q.db", "1")

        assert answer.code == 2
        assert "folder" in answer.err

    def test_a_locked_queue_is_a_fault_of_the_storage(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "1")
        holder = sqlite3.connect(tmp_path / "q.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            answer = lowq("push", f"sqlite://{tmp_path}/q.db?patience=0.1", "2")
        finally:
            holder.close()

        assert answer.code == 3
        assert "another process kept the database locked" in answer.err

    def test_a_damaged_queue_is_a_fault_of_the_storage(self, lowq: Lowq, tmp_path: Path) -> None:
        lowq("push", "q.db", "-", stdin=b"\n".join(b'"%s"' % (b"x" * 500 + b"%d" % n) for n in range(200)))
        whole = (tmp_path / "q.db").read_bytes()
        (tmp_path / "q.db").write_bytes(whole[:4096] + b"\xaa" * (len(whole) - 4096))

        answer = lowq("list", "q.db")

        assert answer.code == 3
        assert "q.db" in answer.err


OUTPUTS = [
    (["--help"], 3),
    (["list", "q.db"], 3),
    (["list", "q.db", "--json"], 3),
    (["show", "q.db", "1"], 3),
    (["push", "q.db", "2"], 3),
    (["check", "--help"], 3),
    (["check", "sqlite", "--only", "NAMES-1"], 2),
]
"""Commands that write something, and how they end where that is not possible."""


@pytest.fixture
def full() -> Iterator[BinaryIO]:
    """A file on a disk that is full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as file:
        yield file


@pytest.fixture
def unread() -> Iterator[BinaryIO]:
    """A pipe whose reader has gone."""
    nobody, end = os.pipe()
    os.close(nobody)
    with open(end, "wb") as pipe:
        yield pipe


class TestShell:
    """As a process of its own."""

    def test_exit_codes_reach_the_shell(self, tmp_path: Path) -> None:
        assert shell("push", "q.db", "1", cwd=tmp_path).returncode == 0
        assert shell("show", "q.db", "9", cwd=tmp_path).returncode == 1
        assert shell("push", "q.db", "{", cwd=tmp_path).returncode == 2
        assert shell("nosuch", cwd=tmp_path).returncode == 2

    def test_help_tells_the_exit_codes(self, tmp_path: Path) -> None:
        answer = shell("--help", cwd=tmp_path)

        assert answer.returncode == 0
        for code in (0, 1, 2, 3, 130, 141):
            assert f"  {code}  " in answer.stdout

    def test_lines_come_through_a_pipe(self, tmp_path: Path) -> None:
        answer = shell("push", "q.db", "-", cwd=tmp_path, stdin=b"1\n2\n")

        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "pushed 2\n", "")

    def test_a_reader_that_goes_away_is_no_error(self, tmp_path: Path) -> None:
        shell("push", "q.db", "-", cwd=tmp_path, stdin=b"\n".join(b"%d" % n for n in range(3000)))
        with subprocess.Popen(
            [sys.executable, "-m", "lowq", "list", "q.db", "--json"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()

            assert process.wait(60) == 141
            assert process.stderr.read() == b""

    def test_ctrl_c_ends_a_push_quietly(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "lowq", "push", "q.db", "-", "--json", "--batch", "1"],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(b"1\n")
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)

            assert process.wait(60) == 130
            assert process.stderr.read() == b"lowq: interrupted\n"

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize(("command", "code"), OUTPUTS)
    def test_a_full_disk_under_the_output_is_told(
        self, tmp_path: Path, full: BinaryIO, command: list[str], code: int, unbuffered: str
    ) -> None:
        shell("push", "q.db", "1", cwd=tmp_path)

        answer = shell(*command, cwd=tmp_path, stdout=full, env={"PYTHONUNBUFFERED": unbuffered})

        assert answer.returncode == code
        assert answer.stderr.splitlines()[1:] == []
        assert "No space left on device" in answer.stderr

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize("command", [command for command, _ in OUTPUTS])
    def test_a_reader_that_has_gone_is_no_error(
        self, tmp_path: Path, unread: BinaryIO, command: list[str], unbuffered: str
    ) -> None:
        shell("push", "q.db", "1", cwd=tmp_path)

        answer = shell(*command, cwd=tmp_path, stdout=unread, env={"PYTHONUNBUFFERED": unbuffered})

        assert (answer.returncode, answer.stderr) == (141, "")

    @pytest.mark.parametrize("command", [command for command, _ in OUTPUTS])
    def test_output_that_is_closed_is_not_missed(self, tmp_path: Path, command: list[str]) -> None:
        shell("push", "q.db", "1", cwd=tmp_path)
        closed = shlex.join([sys.executable, "-m", "lowq", *command]) + " >&-"

        answer = subprocess.run(
            closed, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

        assert (answer.returncode, answer.stderr) == (0, "")

    def test_trouble_that_cannot_be_told_has_its_exit_code(self, tmp_path: Path, full: BinaryIO) -> None:
        answer = shell("push", "q.db", "{", cwd=tmp_path, stderr=full)

        assert (answer.returncode, answer.stdout) == (2, "")

    def test_a_page_is_written_though_nobody_reads_the_table(self, tmp_path: Path, unread: BinaryIO) -> None:
        shell("check", "sqlite", "--only", "NAMES-1", "--html", "page.html", cwd=tmp_path, stdout=unread)

        assert "NAMES-1" in (tmp_path / "page.html").read_text()

    def test_an_ascii_terminal_gets_escapes(self, tmp_path: Path) -> None:
        ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        shell("push", "q.db", '"é"', cwd=tmp_path)

        assert "\\xe9" in shell("list", "q.db", cwd=tmp_path, env=ascii_only).stdout
        assert json.loads(shell("list", "q.db", "--json", cwd=tmp_path, env=ascii_only).stdout)["work"] == "é"


class TestTerminal:
    def test_a_table_has_colours_and_fits(self, tmp_path: Path) -> None:
        shell("push", "q.db", json.dumps("long " * 100), cwd=tmp_path)

        code, shown = on_a_terminal("list", "q.db", cwd=tmp_path)

        assert code == 0
        assert "\x1b[32mready" in shown
        assert "…" in shown

    def test_lines_from_a_file_show_how_far_they_are(self, tmp_path: Path) -> None:
        (tmp_path / "works").write_text("".join(f"{number}\n" for number in range(3000)))

        code, shown = on_a_terminal("push", "q.db", "-", cwd=tmp_path, stdin=tmp_path / "works")

        assert code == 0
        assert "pushing 3,000 works" in shown
        assert shown.endswith("pushed 3000\r\n")

    def test_no_color_is_honoured(self, tmp_path: Path) -> None:
        shell("push", "q.db", "1", cwd=tmp_path)

        _, shown = on_a_terminal("list", "q.db", cwd=tmp_path, env={"NO_COLOR": "1"})

        assert "ready" in shown
        assert "\x1b[32m" not in shown

    def test_a_pipe_has_no_colours(self, tmp_path: Path) -> None:
        shell("push", "q.db", "1", cwd=tmp_path)

        assert "\x1b" not in shell("list", "q.db", cwd=tmp_path).stdout


HANDLERS = """
import json, lowq, pathlib, time

def note(work):
    with open("ran.txt", "a") as file:
        file.write(json.dumps(work) + "\\n")

def fail(work):
    if work == "bad":
        raise ValueError("no such user \\x1b[31m")
    note(work)

def slow(work):
    note(work)
    time.sleep(60)

def wait_for_stop(work):
    note(work)
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    note("went on")

class Shop:
    @staticmethod
    def sell(work):
        note(work)

def lazy(work):
    yield work

@lowq.task_queue("elsewhere.db", retry=lowq.Retry(max_attempts=1))
def mail(queue, work):
    fail(work)

class Mail(lowq.TaskQueue):
    path = "elsewhere.db"
    name = "other"
    retry = lowq.Retry(max_attempts=1)

    def process(self, work):
        fail(work)

class Unfinished(lowq.TaskQueue):
    path = "elsewhere.db"

number = 7
"""


QUEUES = """
import json, lowq

class Base(lowq.TaskQueue):
    def process(self, work):
        with open("ran.txt", "a") as file:
            file.write(json.dumps(work) + "\\n")

class Chores(Base):
    path = "chores.db"

@lowq.task_queue("own.db", name="mail")
def send(queue, work):
    Base.process(queue, work)
"""


class TestWork:
    @pytest.fixture
    def app(self, tmp_path: Path) -> Path:
        (tmp_path / "app.py").write_text(HANDLERS)
        (tmp_path / "broken.py").write_text("import json\n\nraise RuntimeError('the config\\nis missing')\n")
        (tmp_path / "wrong.py").write_text("def handler(:\n")
        (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
        (tmp_path / "needs.py").write_text("import nosuchlibrary\n")
        return tmp_path

    def test_drain_runs_what_is_due_and_leaves(self, app: Path) -> None:
        main(["push", str(app / "q.db"), "1", '{"a": 2}'])
        main(["push", str(app / "q.db"), "3", "--in", "1h"])

        answer = shell("work", "q.db", "app:note", "--drain", cwd=app)

        assert (answer.returncode, answer.stdout, answer.stderr) == (
            0,
            "",
            "queue default of q.db: 2 ready, 1 scheduled\n2 done\n",
        )
        assert (app / "ran.txt").read_text() == '1\n{"a": 2}\n'
        assert works(app / "q.db") == [3]

    def test_a_failed_task_is_a_line_and_an_exit_code(self, app: Path) -> None:
        main(["push", str(app / "q.db"), '"bad"', '"good"'])

        answer = shell("work", "q.db", "app:fail", "--drain", cwd=app)

        assert answer.returncode == 1
        _, *lines = answer.stderr.splitlines()
        assert lines[0].startswith("task 1, attempt 1: retry: ValueError: no such user \\x1b[31m, again at 20")
        assert lines[1:] == ["1 retry, 1 done"]
        assert "ValueError: no such user" in shell("show", "q.db", "1", cwd=app).stdout

    def test_a_task_that_failed_too_often_is_dead(self, app: Path) -> None:
        main(["push", str(app / "q.db"), '"bad"'])

        answer = shell("work", "q.db", "app:fail", "--drain", "--max-attempts", "1", cwd=app)

        assert answer.returncode == 1
        assert "task 1, attempt 1: dead: ValueError" in answer.stderr
        assert json.loads(shell("list", "q.db", "--json", cwd=app).stdout)["state"] == "dead"

    def test_json_tells_each_run(self, app: Path) -> None:
        main(["push", str(app / "q.db"), '"bad"', '"good"'])

        answer = shell("work", "q.db", "app:fail", "--drain", "--json", cwd=app)

        first, second = (json.loads(line) for line in answer.stdout.splitlines())
        assert first["error"] == "ValueError: no such user \\x1b[31m"
        assert first["at"] < first["next_due"]
        assert {**second, "at": ""} == {
            "id": "2",
            "work": "good",
            "attempt": 1,
            "outcome": "done",
            "error": None,
            "at": "",
            "next_due": None,
        }

    def test_a_time_limit_ends_a_task_that_hangs(self, app: Path) -> None:
        main(["push", str(app / "q.db"), "1"])

        answer = shell("work", "q.db", "app:slow", "--drain", "--time-limit", "300ms", cwd=app)

        assert answer.returncode == 1
        assert "time limit" in answer.stderr

    def test_an_attribute_can_be_the_handler(self, app: Path) -> None:
        main(["push", str(app / "q.db"), "1"])

        assert shell("work", "q.db", "app:Shop.sell", "--drain", cwd=app).returncode == 0

    @pytest.mark.parametrize("handler", ["app:mail", "app:Mail"])
    def test_an_application_s_queue_is_run_as_it_wants(self, app: Path, handler: str) -> None:
        main(["push", str(app / "q.db"), '"bad"', '"good"'])

        answer = shell("work", "q.db", handler, "--drain", cwd=app)

        first, second, _, last = answer.stderr.splitlines()
        assert first == "queue default of q.db: 2 ready"
        assert second.startswith(f"{handler} is made for another: the queue ")
        assert last == "1 dead, 1 done"
        assert (app / "ran.txt").read_text() == '"good"\n'
        assert not (app / "elsewhere.db").exists()

    def test_the_queue_of_the_application_alone_says_where_it_is(self, app: Path) -> None:
        (app / "own.py").write_text(QUEUES)
        main(["push", str(app / "own.db"), "1", "--name", "mail"])

        answers = [
            shell("work", *targets.split(), "--drain", cwd=app)
            for targets in ("own:send", "own.db own:send", "other.db own:send", "own:send own:Chores")
        ]

        assert [answer.returncode for answer in answers] == [0] * 4, answers
        assert [answer.stderr.splitlines() for answer in answers] == [
            [f"queue mail of {app}/own.db: 1 ready", "1 done"],
            ["queue mail of own.db: 0 ready", "0 done"],
            [
                "queue default of other.db: new, nothing waits in it",
                f"own:send is made for another: the queue mail of {app}/own.db",
                "0 done",
            ],
            [
                f"queue mail of {app}/own.db: 0 ready",
                f"queue default of {app}/chores.db: new, nothing waits in it",
                "0 done",
            ],
        ]

    def test_a_module_is_no_location_though_a_folder_or_no_file_has_its_name(self, app: Path) -> None:
        (app / "own").mkdir()
        (app / "own" / "__init__.py").write_text(QUEUES)
        main(["push", str(app / "own.db"), "1", "--name", "mail"])

        one = shell("work", "own", "--drain", cwd=app)
        twice = shell("work", "own", "own:send", "--drain", cwd=app)

        assert [sorted(each.stderr.splitlines()[:-1]) for each in (one, twice)] == [
            [f"queue default of {app}/chores.db: {chores}", f"queue mail of {app}/own.db: {mail}"]
            for chores, mail in (("new, nothing waits in it", "1 ready"), ("0 ready", "0 ready"))
        ]
        assert (one.returncode, twice.returncode) == (0, 0)

    def test_a_misspelt_name_meets_those_that_there_are(self, app: Path) -> None:
        for name in ("mail", "orders"):
            main(["push", str(app / "q.db"), "1", "--name", name])

        answer = shell("work", "q.db", "app:note", "--name", "mial", "--drain", cwd=app)

        assert answer.stderr.splitlines()[0] == (
            "queue mial of q.db: new, nothing waits in it; there are mail, orders"
        )

    @pytest.mark.parametrize("processes", ["1", "3"])
    def test_the_queues_of_a_module_take_turns(self, app: Path, processes: str) -> None:
        (app / "own.py").write_text(QUEUES)
        for number in range(6):
            main(["push", str(app / "own.db"), f'"mail {number}"', "--name", "mail"])
        main(["push", str(app / "chores.db"), '"chore 0"', '"chore 1"'])

        answer = shell("work", "own", "--drain", "--processes", processes, cwd=app)

        assert answer.returncode == 0, answer
        assert answer.stderr.splitlines()[-1] == "8 done"
        ran = [json.loads(line) for line in (app / "ran.txt").read_text().splitlines()]
        assert sorted(ran) == sorted([*(f"mail {number}" for number in range(6)), "chore 0", "chore 1"])
        if processes == "1":
            assert ran[:4] in (["mail 0", "chore 0", "mail 1", "chore 1"], ["chore 0", "mail 0", "chore 1", "mail 1"])

    def test_an_idle_worker_of_several_queues_takes_what_comes_and_stops(self, app: Path) -> None:
        (app / "own.py").write_text(QUEUES)
        with subprocess.Popen(
            [sys.executable, "-m", "lowq", "work", "own"], cwd=app, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            process.stderr.readline()
            process.stderr.readline()
            for number, (place, name) in enumerate([("own.db", "mail"), ("chores.db", "default")]):
                main(["push", str(app / place), str(number), "--name", name])
                wait_for(lambda: (app / "ran.txt").exists() and str(number) in (app / "ran.txt").read_text())  # noqa: B023
            process.send_signal(signal.SIGTERM)

            assert process.wait(60) == 0
            assert process.stderr.read() == "2 done\n"

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["q.db"], "'q.db' is a location"),
            (["app:note"], "app:note is a plain function"),
            (["json"], "the module 'json' has no queue"),
            (["app:mail", "q.db"], "'q.db' is a location\nit stands first, with one handler: lowq work q.db"),
            (["q.db", "app:mail", "app:note"], "'q.db' is a location\nit stands first, with one handler"),
            (["q.db", "redis://:secret@h/0"], "'redis://:…@h/0' is no handler"),
            (["app:mail", "--name", "other"], "--name goes with a LOCATION"),
        ],
    )
    def test_what_does_not_say_which_queue_is_told(self, app: Path, arguments: list[str], complaint: str) -> None:
        main(["push", str(app / "q.db"), "1"])

        answer = shell("work", *arguments, cwd=app)

        assert answer.returncode == 2
        assert complaint in answer.stderr

    @pytest.mark.parametrize("processes", ["1", "2"])
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    def test_a_signal_lets_the_task_in_hand_end(
        self, app: Path, processes: str, number: signal.Signals, code: int
    ) -> None:
        main(["push", str(app / "q.db"), "1"])
        with subprocess.Popen(
            [sys.executable, "-m", "lowq", "work", "q.db", "app:wait_for_stop", "--processes", processes],
            cwd=app,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            wait_for(lambda: (app / "ran.txt").exists())
            process.send_signal(number)
            (app / "go").touch()

            assert process.wait(60) == code
            first = process.stderr.readline()
            assert first == "queue default of q.db: 1 ready\n"
            assert process.stderr.read() == "1 done\n" + ("lowq: interrupted\n" if code else "")
        assert (app / "ran.txt").read_text() == '1\n"went on"\n'
        assert works(app / "q.db") == []

    @pytest.mark.parametrize(
        ("handler", "complaint"),
        [
            ("app", "'app' is no handler"),
            ("app:", "'app:' is no handler"),
            ("nosuch:handler", "there is no module 'nosuch'"),
            ("nosuch.deeper:handler", "there is no module 'nosuch'"),
            ("app:nosuch", "app has no 'nosuch'"),
            ("app:Shop.nosuch", "Shop has no 'nosuch'"),
            ("app:number", "it is of type int, which cannot be called"),
            ("app:lazy", "lazy is a generator"),
            ("app:Unfinished", "'app:Unfinished' cannot be made: Unfinished: process is missing"),
            ("broken:handler", "importing 'broken' failed: RuntimeError: the config\\nis missing"),
            ("wrong:handler", "importing 'wrong' failed: SyntaxError"),
            ("leaves:handler", "importing 'leaves' failed: SystemExit"),
            ("needs:handler", "importing 'needs' failed: ModuleNotFoundError: No module named 'nosuchlibrary'"),
        ],
    )
    def test_what_is_no_handler_is_told_in_two_lines(self, app: Path, handler: str, complaint: str) -> None:
        answer = shell("work", "q.db", handler, "--drain", cwd=app)

        assert answer.returncode == 2
        assert complaint in answer.stderr
        assert len(answer.stderr.splitlines()) <= 2
        assert not (app / "q.db").exists()

    def test_a_terminal_shows_the_runs_as_they_end(self, app: Path) -> None:
        main(["push", str(app / "q.db"), "1", "2", '"bad"'])

        code, shown = on_a_terminal("work", "q.db", "app:fail", "--drain", cwd=app)

        assert code == 1
        assert "1 done\r\x1b[K2 done\r\x1b[K" in shown
        assert "\x1b[33mtask 3" in shown
        assert shown.endswith("\r\x1b[K2 done, 1 retry\r\n")


def test_check_without_pytest_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
    )

    answer = shell("check", "sqlite", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})

    assert answer.returncode == 2
    assert answer.stderr.endswith('is missing: pip install "lowq[pytest]"\n')
    assert len(answer.stderr.splitlines()) == 1
