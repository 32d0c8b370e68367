"""A whole queue for shells: claim and settle, commands as handlers, a log, and a worker in sh that may be killed.

Long: each way in which a command or a log can fail is tried on its own.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from backends import served
from processes import BOUND, wait_for

from lowq import Counts, Task, open_backend

ROOT = Path(__file__).parents[3]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def lowq(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lowq", *arguments],
        cwd=cwd, input=stdin, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip


@contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lowq", *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=BOUND)


def pushed(location: Path | str, *works: object) -> None:
    queue = open_backend(location)
    for work in works:
        queue.push(work)
    queue.close()


def counted(location: Path | str) -> Counts:
    queue = open_backend(location)
    try:
        return queue.count()
    finally:
        queue.close()


def first(location: Path | str) -> Task:
    queue = open_backend(location)
    try:
        return queue.tasks()[0]
    finally:
        queue.close()


class TestVerbs:
    def test_a_task_is_claimed_and_acked(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", {"mail": 1})

        taken = lowq("claim", "q.db", cwd=tmp_path)
        word, work = taken.stdout.splitlines()
        held = counted(tmp_path / "q.db")
        done = lowq("ack", "q.db", word, cwd=tmp_path)
        again = lowq("ack", "q.db", word, cwd=tmp_path)

        assert (work, held, done.returncode, counted(tmp_path / "q.db")) == (
            '{"mail":1}',
            Counts(leased=1),
            0,
            Counts(),
        )
        assert again.returncode == 1
        assert "lease" in again.stderr

    def test_json_is_one_object_with_the_word_and_the_lease(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", {"mail": 1})

        lease = json.loads(lowq("claim", "q.db", "--json", "--lease", "1h", cwd=tmp_path).stdout)
        longer = json.loads(lowq("extend", "q.db", lease["lease"], "--lease", "2h", "--json", cwd=tmp_path).stdout)

        assert lease["task"]["work"] == {"mail": 1}
        assert longer["expires"] > lease["expires"]

    def test_nothing_due_is_exit_code_1(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db")

        assert lowq("claim", "q.db", "--wait", "10ms", cwd=tmp_path).returncode == 1

    def test_a_task_is_released_with_a_reason_from_standard_input(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1)
        word = lowq("claim", "q.db", cwd=tmp_path).stdout.split()[0]

        lowq("release", "q.db", word, "--in", "1h", "--reason", "-", cwd=tmp_path, stdin="no server\n")

        task = first(tmp_path / "q.db")
        assert (task.state, task.reason, task.attempts) == ("scheduled", "no server", 1)

    def test_a_task_is_set_aside(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1)
        word = lowq("claim", "q.db", cwd=tmp_path).stdout.split()[0]

        assert lowq("dead-letter", "q.db", word, "--reason", "no such user", cwd=tmp_path).returncode == 0
        assert (first(tmp_path / "q.db").state, first(tmp_path / "q.db").reason) == ("dead", "no such user")

    @pytest.mark.parametrize("word", ["", "1", ":", "1:", ":x", "x:y", "%00:%00", "1:\u00e9", "1:\udcff"])
    def test_a_word_that_is_no_lease_settles_nothing(self, tmp_path: Path, word: str) -> None:
        pushed(tmp_path / "q.db", 1)
        lowq("claim", "q.db", cwd=tmp_path)

        answer = lowq("ack", "q.db", word, cwd=tmp_path)

        assert answer.returncode in (1, 2)
        assert "Traceback" not in answer.stderr
        assert counted(tmp_path / "q.db") == Counts(leased=1)


class TestCommands:
    def test_the_work_is_on_standard_input_and_the_environment_says_which(self, tmp_path: Path) -> None:
        queue = open_backend(tmp_path / "q.db", name="mails")
        queue.push({"to": "Ada"}, headers={"trace-id": "7"})
        queue.close()
        script = 'cat > out; echo "$LOWQ_ID $LOWQ_ATTEMPT $LOWQ_QUEUE $LOWQ_HEADER_TRACE_ID" >> out'

        done = lowq("work", "q.db", "--name", "mails", "--drain", "--", "sh", "-c", script, cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out").read_text() == '{"to":"Ada"}\n1 1 mails 7\n'

    def test_another_status_is_a_failure_and_the_end_of_its_errors_the_reason(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1)

        done = lowq("work", "q.db", "--drain", "--", "sh", "-c", "echo no such user >&2; exit 3", cwd=tmp_path)

        task = first(tmp_path / "q.db")
        assert (done.returncode, task.state, task.reason) == (1, "scheduled", "no such user\n(exit status 3)")

    @pytest.mark.parametrize("command", [["./command"], ["sh", "-c", "kill -9 $$"], ["sh", "-c", "kill -40 $$"]])
    def test_a_command_that_cannot_run_or_is_killed_is_a_failure(self, tmp_path: Path, command: list[str]) -> None:
        pushed(tmp_path / "q.db", 1)
        (tmp_path / "command").write_bytes(b"\0\1")  # found, and no program
        (tmp_path / "command").chmod(0o755)

        done = lowq("work", "q.db", "--drain", "--max-attempts", "1", "--", *command, cwd=tmp_path)

        assert (done.returncode, counted(tmp_path / "q.db")) == (1, Counts(dead=1))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("#!/no/such/program\n", "its first line names after #! is not there"),
            ("exit 0\n", "begins with a line like"),
        ],
    )
    def test_a_script_that_the_system_cannot_start_is_told_what_it_lacks(
        self, tmp_path: Path, text: str, told: str
    ) -> None:
        pushed(tmp_path / "q.db", 1)
        (tmp_path / "script").write_text(text)
        (tmp_path / "script").chmod(0o755)

        lowq("work", "q.db", "--drain", "--max-attempts", "1", "--", "./script", cwd=tmp_path)

        assert told in (first(tmp_path / "q.db").reason or "")

    @pytest.mark.parametrize("command", ["no-such-command-here", "/", "./q.db", ""])
    def test_a_command_that_is_not_there_ends_it_before_a_task_is_taken(self, tmp_path: Path, command: str) -> None:
        pushed(tmp_path / "q.db", 1)

        done = lowq("work", "q.db", "--drain", "--", command, cwd=tmp_path)

        assert (done.returncode, f"no command {command!r}" in done.stderr) == (2, True)
        assert counted(tmp_path / "q.db") == Counts(ready=1)

    def test_a_command_that_reads_nothing_of_a_large_work_is_done(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", "x" * 1_000_000)

        assert lowq("work", "q.db", "--drain", "--", "true", cwd=tmp_path).returncode == 0
        assert counted(tmp_path / "q.db") == Counts()

    def test_at_its_time_limit_it_is_killed_with_what_it_started(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1)
        script = "sleep 300 & echo $! > pid; echo slow >&2; wait"

        done = lowq("work", "q.db", "--drain", "--time-limit", "500ms", "--", "sh", "-c", script, cwd=tmp_path)

        pid = int((tmp_path / "pid").read_text())
        assert done.returncode == 1
        assert first(tmp_path / "q.db").reason == "slow\n(killed at its time limit of 0.5 s)"
        wait_for(lambda: not _lives(pid))

    @pytest.mark.parametrize("options", [(), ("--time-limit", "1h"), ("--processes", "2")])
    def test_a_killed_worker_takes_its_command_along_with_what_that_started(
        self, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        pushed(tmp_path / "q.db", 1)
        script = "sleep 300 & echo $$ $! > new; mv new pids; exec 0<&- 2>&- 1>&-; wait"

        with started("work", "q.db", *options, "--", "sh", "-c", script, cwd=tmp_path) as worker:
            wait_for((tmp_path / "pids").exists)
            worker.kill()
            worker.wait(BOUND)

        for pid in (tmp_path / "pids").read_text().split():
            wait_for(lambda: not _lives(int(pid)))  # noqa: B023  called at once

    def test_what_a_command_leaves_running_when_it_is_done_runs_on(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1)
        script = "sleep 300 >/dev/null 2>&1 & echo $! > pid"

        done = lowq("work", "q.db", "--drain", "--", "sh", "-c", script, cwd=tmp_path)

        pid = int((tmp_path / "pid").read_text())
        assert (done.returncode, _lives(pid)) == (0, True)
        os.kill(pid, signal.SIGKILL)

    def test_what_it_leaves_running_with_its_streams_holds_up_no_task(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", "x" * 1_000_000, *range(8))
        script = (
            "[ -e left ] && exit 3; touch left;"
            " (while [ ! -e go ]; do sleep 0.1; done; echo late >&2; echo later >&2; touch said) <&0 & exit 0"
        )

        with started("work", "q.db", "--max-attempts", "1", "--", "sh", "-c", script, cwd=tmp_path) as worker:
            assert worker.stderr is not None
            wait_for(lambda: counted(tmp_path / "q.db") == Counts(dead=8))
            (tmp_path / "go").touch()
            wait_for((tmp_path / "said").exists)
            worker.send_signal(signal.SIGTERM)
            _, says = worker.communicate(timeout=BOUND)

        assert "late\nlater\n" in says
        assert "Traceback" not in says

    @pytest.mark.parametrize("options", [(), ("--time-limit", "1h")])
    def test_a_second_sigterm_is_passed_on_and_the_task_given_back(
        self, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        pushed(tmp_path / "q.db", 1)
        script = "trap 'echo told > told; exit 1' TERM; echo ready > ready; while :; do sleep 0.05; done"

        with started("work", "q.db", *options, "--", "sh", "-c", script, cwd=tmp_path) as worker:
            wait_for((tmp_path / "ready").exists)
            worker.send_signal(signal.SIGTERM)
            threading.Event().wait(0.3)
            worker.send_signal(signal.SIGTERM)
            code = worker.wait(BOUND)

        assert (code, (tmp_path / "told").exists()) == (0, True)
        assert (counted(tmp_path / "q.db"), first(tmp_path / "q.db").attempts) == (Counts(ready=1), 0)

    @pytest.mark.parametrize(
        "arguments",
        [["q.db", "app:send", "--", "true"], ["q.db", "--"], ["--", "true"], ["q.db", "--log", "f", "--", "true"],
         ["q.db", "app:send", "--log", "f"], ["q.db", "--log", "f", "--delay", "5"]],
    )  # fmt: skip
    def test_a_command_line_that_says_two_things_is_refused(self, tmp_path: Path, arguments: list[str]) -> None:
        done = lowq("work", *arguments, cwd=tmp_path)

        assert done.returncode == 2
        assert "Traceback" not in done.stderr


class TestLog:
    def test_each_work_is_a_line_with_its_time(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", {"mail": 1}, "two\nlines")

        lowq("work", "q.db", "--log", "log.txt", "--drain", cwd=tmp_path)

        lines = (tmp_path / "log.txt").read_text().splitlines()
        assert [re.sub(f"^{STAMP} ", "", line) for line in lines] == ['{"mail":1}', '"two\\nlines"']
        assert counted(tmp_path / "q.db") == Counts()

    def test_between_two_tasks_it_waits_and_holds_none(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", 1, 2)

        with started("work", "q.db", "--log", "log.txt", "--delay", "1h", cwd=tmp_path) as worker:
            wait_for(lambda: (tmp_path / "log.txt").exists() and counted(tmp_path / "q.db") == Counts(ready=1))
            worker.send_signal(signal.SIGTERM)
            code = worker.wait(BOUND)

        assert (code, len((tmp_path / "log.txt").read_text().splitlines())) == (0, 1)

    def test_two_of_them_log_each_task_once_over_http(self, tmp_path: Path) -> None:
        with served(tmp_path / "q.db", name="default") as url:
            pushed(url, *range(40))
            arguments = ("work", url, "--log", "log.txt", "--delay", "1ms")
            with started(*arguments, cwd=tmp_path) as one, started(*arguments, cwd=tmp_path) as other:
                wait_for(lambda: counted(url) == Counts())
                for each in (one, other):
                    each.send_signal(signal.SIGTERM)
                    assert each.wait(BOUND) == 0

        works = [int(line.split()[1]) for line in (tmp_path / "log.txt").read_text().splitlines()]
        assert sorted(works) == list(range(40))

    def test_a_server_that_is_away_is_a_message_and_is_waited_for(self, tmp_path: Path) -> None:
        with served(tmp_path / "q.db", name="default") as url:
            pushed(url, "first")
        port = int(url.rpartition(":")[2])

        with started("work", f"{url}?patience=0.1", "--log", "log.txt", cwd=tmp_path) as worker:
            assert worker.stderr is not None
            said = worker.stderr.readline()
            with served(tmp_path / "q.db", name="default", port=port):
                wait_for((tmp_path / "log.txt").exists)
                wait_for(lambda: counted(url) == Counts())
                worker.send_signal(signal.SIGTERM)
                code = worker.wait(BOUND)

        assert "does not answer" in said
        assert code == 0

    @pytest.mark.parametrize("log", ["nowhere/log.txt", "folder", ""])
    @pytest.mark.parametrize("options", [[], ["--drain"]])
    def test_a_log_that_cannot_be_written_ends_it_before_a_task_is_taken(
        self, tmp_path: Path, log: str, options: list[str]
    ) -> None:
        (tmp_path / "folder").mkdir()
        pushed(tmp_path / "q.db", 1)

        done = lowq("work", "q.db", "--log", log, *options, cwd=tmp_path)

        assert (done.returncode, log in done.stderr) == (3 if log else 2, True)
        assert "Traceback" not in done.stderr
        assert (counted(tmp_path / "q.db"), first(tmp_path / "q.db").attempts) == (Counts(ready=1), 0)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk here that is always full")
    def test_a_full_disk_is_waited_for_and_costs_no_attempt(self, tmp_path: Path) -> None:
        (tmp_path / "log.txt").symlink_to("/dev/full")
        pushed(tmp_path / "q.db", *range(3))

        with started("work", "q.db", "--log", "log.txt", cwd=tmp_path) as worker:
            assert worker.stderr is not None
            while "No space" not in worker.stderr.readline():
                pass
            worker.send_signal(signal.SIGTERM)
            stopped = worker.wait(BOUND)
        waiting = (counted(tmp_path / "q.db"), first(tmp_path / "q.db").attempts)
        with started("work", "q.db", "--log", "log.txt", cwd=tmp_path) as worker:
            assert worker.stderr is not None
            while "No space" not in worker.stderr.readline():
                pass
            (tmp_path / "log.txt").unlink()
            wait_for(lambda: counted(tmp_path / "q.db") == Counts())

        assert (stopped, waiting) == (0, (Counts(ready=3), 0))
        assert [line.split()[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["0", "1", "2"]

    def test_a_line_that_does_not_fit_leaves_none_of_it(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", "short", "long" * 100)

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))

        with served(tmp_path / "q.db", name="default") as url:
            done = subprocess.run(
                [sys.executable, "-m", "lowq", "work", url, "--log", "log.txt", "--drain"], preexec_fn=limit,
                cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=False,
            )  # fmt: skip

        assert done.returncode == 1
        assert re.fullmatch(f'{STAMP} "short"\n', (tmp_path / "log.txt").read_text())
        assert re.search("disk full|too large", first(tmp_path / "q.db").reason or "")

    def test_a_line_is_its_own_where_a_killed_worker_left_half_of_one(self, tmp_path: Path) -> None:
        (tmp_path / "log.txt").write_text('2030-01-01T00:00:00Z {"ma')
        pushed(tmp_path / "q.db", 1)

        lowq("work", "q.db", "--log", "log.txt", "--drain", cwd=tmp_path)

        assert re.fullmatch(f'2030-01-01T00:00:00Z {{"ma\n{STAMP} 1\n', (tmp_path / "log.txt").read_text())

    @pytest.mark.parametrize("options", [[], ["--processes", "2"]])
    def test_a_fifo_that_nobody_reads_holds_up_no_stop(self, tmp_path: Path, options: list[str]) -> None:
        os.mkfifo(tmp_path / "log.txt")
        pushed(tmp_path / "q.db", 1)

        with started("work", "q.db", "--log", "log.txt", *options, cwd=tmp_path) as worker:
            assert worker.stderr is not None
            while "nobody reads" not in worker.stderr.readline():
                pass
            worker.send_signal(signal.SIGTERM)
            code = worker.wait(BOUND)

        assert (code, counted(tmp_path / "q.db"), first(tmp_path / "q.db").attempts) == (0, Counts(ready=1), 0)


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh here")
class TestTheExample:
    def test_it_does_every_task_once(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", *range(5))

        subprocess.run(
            ["sh", str(ROOT / "examples/worker.sh"), "q.db", "sh", "-c", "cat >> done"],
            cwd=tmp_path, env=_with_lowq(tmp_path), timeout=BOUND, check=False,
        )  # fmt: skip

        assert (tmp_path / "done").read_text().split() == list("01234")
        assert counted(tmp_path / "q.db") == Counts()

    def test_killed_at_any_point_it_loses_no_task(self, tmp_path: Path) -> None:
        pushed(tmp_path / "q.db", *range(6))
        environment = {**_with_lowq(tmp_path), "LEASE": "1s"}
        command = ["sh", str(ROOT / "examples/worker.sh"), "q.db", "sh", "-c", "cat >> done"]

        def done() -> int:
            return len((tmp_path / "done").read_text().split()) if (tmp_path / "done").exists() else 0

        moments: tuple[Callable[[], object], ...] = (
            lambda: counted(tmp_path / "q.db").leased,
            lambda: done() > 0,
            lambda: done() > 2,
        )
        for moment in moments:
            worker = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
            wait_for(lambda: moment() or worker.poll() is not None)  # noqa: B023  called at once
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(BOUND)
        for _ in range(30):
            if counted(tmp_path / "q.db") == Counts():
                break
            subprocess.run(command, cwd=tmp_path, env=environment, timeout=BOUND, check=False)
            threading.Event().wait(0.2)

        assert set((tmp_path / "done").read_text().split()) == set("012345")
        assert counted(tmp_path / "q.db") == Counts()


def _with_lowq(folder: Path) -> dict[str, str]:
    """An environment in which `lowq` is this one."""
    bin = folder / "bin"
    bin.mkdir()
    (bin / "lowq").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lowq "$@"\n')
    (bin / "lowq").chmod(0o755)
    return {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
