"""Trials of one queue file, with real processes, kills and damage: python -m bench.storms kills --seconds 60.

kills       a worker is killed with SIGKILL again and again, and a start follows at once: every push is run
starts      each push and start comes when the task before was done, as the worker is about to end: none is stranded
duplicates  four processes push the same works at once: each is added once
stopped     a worker is told to stop, and stopped by SIGSTOP past its lease, again and again: every push is run
full        a process may write no file past some size: what was answered is so, what was refused is not
flipped     bits of a file flip: each call answers or raises an error of ours, and no work is done twice
readers     three read without a pause while one pushes: the log stays bounded, and nothing is lost

Each prints one figure, and ends with exit code 1 where a promise was broken. Ctrl-C ends it early, with
its figure so far.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

from bench.harm import fill_disk, flip_bits, read_on
from lowq import Counts, Retry, SystemClock, Worker, open_backend
from lowq.worker.background import active_pid, start

BOUND = timedelta(seconds=60)
"""What was pushed is run within that long after the storm, or it is lost."""

PUSHER = """
import sys, lowq
queue = lowq.open_backend(sys.argv[1], durability="process")
print(sum(queue.push(number).added for number in range(int(sys.argv[2]), int(sys.argv[3]))))
"""


Figure = tuple[str, int, dict[str, int]]
"""One line, how much was broken, and the numbers by their names."""


class Storm:
    """A queue in a file, a book of what ran, and a clock that says when to end."""

    def __init__(self, folder: Path, seconds: float, number: int = sys.maxsize) -> None:
        self.folder, self.number = folder, number
        self.path, self.book = folder / "q.db", folder / "book"
        self.queue = open_backend(self.path, durability="process")
        self.random = Random(seconds)
        self.left = SystemClock().countdown(timedelta(seconds=seconds))
        self.pushed = 0
        self.over = False

    def going(self, reached: int = 0) -> bool:
        """Whether the trial goes on: neither ended by hand nor by its time, nor its number reached."""
        return not self.over and reached < self.number and self.left() > timedelta(0)

    def end(self, *_: object) -> None:
        """Go on no longer, but tell the figure of what was done; who asks once more is in a hurry."""
        self.over = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def push_and_start(self) -> None:
        """One more work, and a worker for it."""
        self.queue.push(self.pushed)
        self.pushed += 1
        start(
            Worker(
                self.queue,
                self._note,
                lease_for=timedelta(seconds=0.3),
                retry=Retry(first=timedelta(seconds=0.1), max_attempts=10_000),
            ),
            self.path,
            linger=timedelta(seconds=1),
        )

    def _note(self, work: int) -> None:
        descriptor = os.open(self.book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{work}\n".encode())
        os.close(descriptor)

    def lost(self) -> int:
        """How many works were never run, when all had their time."""
        left = SystemClock().countdown(BOUND)
        while self.queue.count() != Counts() and left() > timedelta(0):
            SystemClock().sleep(timedelta(seconds=0.02))
        ran = set(map(int, self.book.read_text().split())) if self.book.exists() else set()
        self.queue.close()
        return self.pushed - len(ran)

    def signal(self, number: int) -> bool:
        """Whether there was a worker to send it to."""
        pid = active_pid(self.path)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def pause(self) -> None:
        """Some milliseconds, at random."""
        SystemClock().sleep(timedelta(seconds=self.random.uniform(0, 0.01)))


def kills(storm: Storm) -> Figure:
    """Kill, push and start; a start right after a kill is the last one of each ten."""
    killed = 0
    while storm.going(killed):
        for _ in range(10):
            storm.push_and_start()
            storm.pause()
        killed += storm.signal(signal.SIGKILL)
    storm.push_and_start()
    lost = storm.lost()
    figure = f"{killed} kills, {storm.pushed} pushes, {lost} lost"
    return figure, lost, {"kills": killed, "pushes": storm.pushed, "lost": lost}


def starts(storm: Storm) -> Figure:
    """Push and start as soon as nothing is left."""
    stranded = 0
    while storm.going(storm.pushed) and not stranded:
        storm.push_and_start()
        left = SystemClock().countdown(BOUND)
        while storm.queue.count() != Counts() and not stranded:
            stranded = int(left() <= timedelta(0))
    lost = storm.lost() or stranded
    return (
        f"{storm.pushed} starts at the end of a worker, {lost} stranded",
        lost,
        {"starts": storm.pushed, "lost": lost},
    )


def duplicates(storm: Storm) -> Figure:
    """Four processes push the same works, a hundred and then more at a time."""
    wrong, together = 0, 100
    while storm.going(4 * storm.pushed):
        first = storm.pushed
        storm.pushed += together
        pushers = [
            subprocess.Popen(
                [sys.executable, "-c", PUSHER, str(storm.path), str(first), str(storm.pushed)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        wrong += abs(together - sum(int(pusher.communicate()[0]) for pusher in pushers))
        together = min(2 * together, 5000)
    wrong += abs(storm.queue.count().ready - storm.pushed)
    storm.queue.close()
    figure = f"{4 * storm.pushed} pushes of {storm.pushed} works by four processes, {wrong} lost or doubled"
    return figure, wrong, {"pushes": 4 * storm.pushed, "works": storm.pushed, "wrong": wrong}


def stopped(storm: Storm) -> Figure:
    """SIGTERM, and SIGSTOP for longer than a lease: somebody else runs what a worker that stands still had."""
    told = stood = 0
    while storm.going(told + stood):
        for _ in range(5):
            storm.push_and_start()
        if storm.random.random() < 0.8:
            told += storm.signal(signal.SIGTERM)
            storm.pause()
        elif (pid := active_pid(storm.path)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                SystemClock().sleep(timedelta(seconds=0.4))
                stood += 1
                os.kill(pid, signal.SIGCONT)
    storm.push_and_start()
    lost = storm.lost()
    figure = f"{told} told to stop, {stood} stood still, {storm.pushed} pushes, {lost} lost"
    return figure, lost, {"told": told, "stood": stood, "pushes": storm.pushed, "lost": lost}


def full(storm: Storm) -> Figure:
    """See harm.fill_disk."""
    return fill_disk(storm.folder, storm.going, storm.random)


def flipped(storm: Storm) -> Figure:
    """See harm.flip_bits."""
    return flip_bits(storm.folder, storm.going, storm.random)


def readers(storm: Storm) -> Figure:
    """See harm.read_on."""
    return read_on(storm.folder, storm.going, storm.random)


TRIALS: dict[str, Callable[[Storm], Figure]] = {
    "kills": kills,
    "starts": starts,
    "duplicates": duplicates,
    "stopped": stopped,
    "full": full,
    "flipped": flipped,
    "readers": readers,
}


def main() -> int:
    """Run one trial; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.storms", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--seconds", type=float, default=60, help="how long at most (60)")
    parser.add_argument(
        "--number", type=int, default=sys.maxsize, help="so many kills, starts, pushes, disks or files"
    )
    parser.add_argument("--json", action="store_true", help="the figure as one JSON object")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowq-trial-") as folder:
        storm = Storm(Path(folder), given.seconds, given.number)
        signal.signal(signal.SIGINT, storm.end)
        figure, broken, numbers = TRIALS[given.trial](storm)
        storm.queue.close()
    told = (
        json.dumps({"trial": given.trial, "broken": broken, **numbers}) if given.json else f"{given.trial}: {figure}"
    )
    sys.stdout.write(f"{told}\n")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
