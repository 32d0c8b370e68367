"""Trials of the storage, for bench.storms: a disk that is full, bytes that flip, readers that never let go."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

from lowq import BackendUnavailable, Item, LowqError, open_backend

MINUTE = timedelta(minutes=1)
MEGABYTE = 1 << 20
LOG = 64 * MEGABYTE
"""What the log of a file may grow to beside readers that end."""

READER = """
import sys, lowq
queue = lowq.open_backend(sys.argv[1])
while True:
    queue.tasks(limit=100)
"""


def fill_disk(folder: Path, going: Callable[[int], bool], random: Random) -> tuple[str, int, dict[str, int]]:
    """A process may write no file past some size; what its calls answered is so, and what they refused is not."""
    rounds = refused = wrong = 0
    while going(rounds):
        path = folder / f"full-{rounds}.db"
        book = folder / "answers"
        open_backend(path, durability="process").close()
        child = os.fork()
        if child == 0:
            _push_until_refused(path, book, random.randrange(1, 40) * 8192, random)
        os.waitpid(child, 0)
        added: set[int] = set()
        for line in book.read_text().splitlines():
            word, _, number = line.partition(" ")
            refused += word == "refused"
            (added.discard if word == "acked" else added.add if word == "pushed" else _nothing)(int(number))
        queue = open_backend(path)
        there = Counter(task.work["number"] for task in queue.tasks())
        wrong += sum((there - Counter(added)).values()) + sum((Counter(added) - there).values())
        queue.close()
        for each in (*folder.glob(f"{path.name}*"), book):
            each.unlink()
        rounds += 1
    figure = f"{rounds} disks full, {refused} calls refused, {wrong} lost or doubled"
    return figure, wrong, {"disks": rounds, "refused": refused, "wrong": wrong}


def _nothing(_: int) -> None:
    """A refused call changes nothing."""


def _push_until_refused(path: Path, book: Path, bytes: int, random: Random) -> None:
    """Pushes, claims and acks, each answer written down, until ten were refused."""
    try:
        notes = os.open(book, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write answers that the file is too large
        size = path.stat().st_size + bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        queue = open_backend(path, durability="process")
        refused = number = 0
        while refused < 10 and number < 10_000:
            number += 1
            try:
                if random.random() < 0.8:
                    queue.push({"number": number, "text": "x" * random.randrange(3000)})
                    os.write(notes, f"pushed {number}\n".encode())
                elif (lease := queue.claim(lease_for=MINUTE)) is not None:
                    queue.ack(lease)
                    os.write(notes, f"acked {lease.work['number']}\n".encode())
            except BackendUnavailable:
                refused += 1
                os.write(notes, f"refused {number}\n".encode())
        os._exit(0)
    finally:
        os._exit(1)


def flip_bits(folder: Path, going: Callable[[int], bool], random: Random) -> tuple[str, int, dict[str, int]]:
    """Files with some flipped bits: each call answers or raises one of our errors, and no task is done twice."""
    files = raw = doubled = refused = 0
    whole = folder / "whole.db"
    queue = open_backend(whole, durability="none")
    queue.push_many([Item({"number": number, "text": "é" * number}, headers={"a": "b"}) for number in range(30)])
    for state in range(3):
        if (lease := queue.claim(lease_for=MINUTE)) is not None and state:
            queue.dead_letter(lease, reason="set aside")
    queue.close()
    data = whole.read_bytes()
    while going(files):
        files += 1
        path = folder / "flipped.db"
        changed = bytearray(data)
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        path.write_bytes(changed)
        done: Counter[object] = Counter()
        try:
            refused += _use(path, done)
        except Exception as error:
            raw += 1
            sys.stderr.write(f"raw: {type(error).__name__}: {error!s:.200}\n")
        doubled += sum(number - 1 for number in done.values())
        for each in folder.glob("flipped.db*"):
            each.unlink()
    figure = f"{files} files with flipped bits, {refused} refused calls, {raw} raw errors, {doubled} done twice"
    return figure, raw + doubled, {"files": files, "refused": refused, "raw": raw, "doubled": doubled}


def _use(path: Path, done: Counter[object]) -> int:
    """How many calls were refused while all was done that could be."""
    refused = 0
    try:
        queue = open_backend(path, durability="none")
    except LowqError:
        return 1
    calls: list[Callable[[], object]] = [
        queue.tasks,
        queue.count,
        queue.next_due,
        lambda: queue.push({"number": "new"}),
    ]
    for call in calls:
        try:
            call()
        except LowqError:
            refused += 1
    for _ in range(60):
        try:
            lease = queue.claim(lease_for=MINUTE)
            if lease is None:
                break
            queue.ack(lease)
            done[json.dumps(lease.work, sort_keys=True)] += 1  # a flipped id is another's: the work tells
        except LowqError:
            refused += 1
    with suppress(LowqError):
        queue.close()
    return refused


def read_on(folder: Path, going: Callable[[int], bool], random: Random) -> tuple[str, int, dict[str, int]]:
    """Three readers read without a pause beside one that pushes: the log stays bounded, and nothing is lost."""
    path = folder / "read.db"
    queue = open_backend(path, durability="process")
    queue.push_many([Item(number) for number in range(200)])
    readers = [subprocess.Popen([sys.executable, "-c", READER, str(path)]) for _ in range(3)]
    largest = pushed = 0
    try:
        while going(pushed):
            pushed += queue.push({"number": pushed, "text": "x" * random.randrange(1000)}, priority=-1).added
            with suppress(OSError):
                largest = max(largest, os.stat(f"{path}-wal").st_size)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    lost = pushed + 200 - queue.count().ready
    queue.close()
    figure = f"{pushed} pushes beside 3 readers, the log {largest / MEGABYTE:.1f} MB at most, {lost} lost"
    return figure, lost + (largest > LOG), {"pushes": pushed, "log": largest, "lost": lost}
