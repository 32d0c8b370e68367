"""JSON lines read in bounded batches, each line with its number."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lowq.backend import InvalidWork, Work
from lowq.rules.canonical import encode
from lowq.wire import InvalidMessage, read_json

BATCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The works of some lines, and how far in the input they reach."""

    works: list[Work]
    first_line: int
    last_line: int
    bytes_read: int


def parse(text: str | bytes) -> Work:
    """The work that a JSON text says. Raises InvalidWork for anything else, NaN and cut texts included."""
    try:
        work = read_json(text)
    except InvalidMessage as error:
        raise InvalidWork(str(error)) from None
    encode(work)
    return work


def batches(lines: Iterable[bytes], size: int) -> Iterator[Batch]:
    """The lines' works, `size` or BATCH_BYTES at a time; empty lines count as lines only.

    Raises InvalidWork, naming the line, before the batch of that line is handed out.
    """
    works: list[Work] = []
    first, in_batch, total, number = 1, 0, 0, 0
    for number, line in enumerate(lines, 1):
        total += len(line)
        in_batch += len(line)
        if line.strip():
            try:
                works.append(parse(line))
            except InvalidWork as error:
                raise InvalidWork(f"line {number}: {error}{_say_kept(first)}") from None
        if len(works) >= size or in_batch >= BATCH_BYTES:
            yield Batch(works, first, number, total)
            works, first, in_batch = [], number + 1, 0
    if works:
        yield Batch(works, first, number, total)


def _say_kept(first: int) -> str:
    if first == 1:
        return "\nNothing was pushed; correct the line and push again."
    return (
        f"\nLines 1 to {first - 1} were pushed, nothing from line {first} on; correct the line and push from there."
    )


def length_of(stream: BinaryIO) -> int | None:
    """How many bytes the stream has in all, where it is a file; None where it is a pipe or a terminal."""
    found = os.fstat(stream.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None
