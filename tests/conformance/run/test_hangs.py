"""A call of the queue's that does not return is told within seconds, with the line where it stands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lowq_conformance.subject.program import Journal, read_open_call
from lowq_conformance.support.own_frames import SUITE
from lowq_conformance.support.stacks import ASK, answer_to, ask, find_strangers
from nested import environment

HARNESSES = Path(__file__).parent.with_name("harnesses.py")
STAND = {"Hangs": "claim", "BlocksInStart": "start", "BlocksInOpen": "open"}


def line_of_the_sleep_in(harness: str) -> int:
    lines = HARNESSES.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"class {harness}("))
    return next(at for at, line in enumerate(lines, start=1) if at > first and "time.sleep(600)" in line)


SAYS = {
    "Hangs": "q.claim() has not returned for 8 seconds; it stands at",
    "BlocksInStart": "start(place, handler) has not returned for 8 seconds; it stands at",
    "BlocksInOpen": "loading it has not come to an end for 8 seconds; it stands at",
}


def test_a_call_that_hangs_is_told_with_its_line_also_where_output_goes_to_a_file(tmp_path: Path) -> None:
    """Also under pytest, on standard error; all at once, since each takes its time."""
    commands = {
        harness: ["lowq", "check", f"{HARNESSES}:{harness}", "--only", "DELIVER-4,WORKER-1"] for harness in SAYS
    }
    suite = ["--pyargs", "lowq_conformance", f"--lowq-harness={HARNESSES}:Hangs", "--lowq-only=DELIVER-4"]
    commands["pytest"] = ["pytest", "-p", "no:cacheprovider", *suite]
    where = {harness: f"{HARNESSES}:{line_of_the_sleep_in(harness)} in {STAND[harness]}" for harness in SAYS}
    where["pytest"] = f'File "{HARNESSES}", line {line_of_the_sleep_in("Hangs")} in claim'
    checking = {}
    for name, command in commands.items():
        with (tmp_path / name).open("wb") as file:
            arguments = [sys.executable, "-m", *command]
            checking[name] = subprocess.Popen(arguments, stdout=file, stderr=file, cwd=tmp_path, env=environment())
    end = time.monotonic() + 300
    while any(where[name] not in (tmp_path / name).read_text() for name in where) and time.monotonic() < end:
        time.sleep(0.1)
    for each in checking.values():
        each.send_signal(signal.SIGINT)
    for each in checking.values():
        each.wait(timeout=60)

    told = {name: (tmp_path / name).read_text() for name in where}
    for harness, says in SAYS.items():
        assert f"{HARNESSES}:{harness}: {says}\n    {where[harness]}" in told[harness]
        assert told[harness].count(says) == 1
    assert where["pytest"] in told["pytest"]


def test_a_process_that_was_told_to_answer_says_where_it_is(tmp_path: Path) -> None:
    stacks = tmp_path / "stacks"
    pid = os.fork()
    if pid == 0:
        answer_to(stacks)
        (tmp_path / "ready").touch()
        time.sleep(60)
        os._exit(0)
    try:
        end = time.monotonic() + 30
        while not (tmp_path / "ready").exists() and time.monotonic() < end:
            time.sleep(0.01)
        frames = ask(pid, stacks)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    assert frames == []  # this test is no queue's code that the suite has called
    assert f'File "{__file__}"' in stacks.read_text()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says which signals a process hears")
def test_a_process_that_does_not_listen_is_not_asked(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as deaf:
        assert ask(deaf.pid, tmp_path / "stacks") == []
        assert deaf.poll() is None
        assert deaf.stdin is not None
        deaf.stdin.write(b"\n")
    assert deaf.returncode == 0
    assert ASK not in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (["/lib/queue.py 3 in claim", f"{SUITE}/subject/client.py 270 in _call", "/t/test.py 1 in t"], ["claim"]),
        (
            ["/lib/queue.py 3 in claim", f"{SUITE}/queues/sound/rows.py 9 in claim", f"{SUITE}/x.py 1 in x"],
            ["claim"] * 2,
        ),
        ([f"{SUITE}/storm/storms.py 3 in wait", "/t/test.py 1 in t"], []),
        (["<string> 3 in <module>", f"{SUITE}/storm/storms.py 3 in wait"], []),
        (["/lib/queue.py 3 in claim"], []),
    ],
)
def test_where_a_queue_stands_is_what_the_suite_has_called(frames: list[str], found: list[str]) -> None:
    lines = ["Thread 0x1 (most recent call first):", '  File "/lib/other.py", line 1 in run', ""]
    lines.append("Current thread 0x2 (most recent call first):")
    for frame in frames:
        file, line, _, function = frame.split()
        lines.append(f'  File "{file}", line {line} in {function}')

    assert [frame.function for frame in find_strangers("\n".join(lines))] == found


def test_the_call_that_has_not_returned_is_the_last_of_the_journal(tmp_path: Path) -> None:
    file = str(tmp_path / "journal")
    journal = Journal(file)
    first = journal.begin("q.push('a')")
    assert read_open_call(file) == "q.push('a')"
    journal.end(first, "")
    assert read_open_call(file) == ""
    journal.begin("q.claim()")
    journal.close()

    assert read_open_call(file) == "q.claim()"
