"""A program that starts workers, with clean-up code of its own that leaves traces: who ran it, and how often."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.subject.handler import Handler


@dataclass(frozen=True, slots=True)
class Starter:
    """What the program does: it pushes the work, starts workers, and leaves its traces in the folder."""

    orders: Orders
    handler: Handler
    work: Any
    folder: Path

    def run(self) -> None:
        """The workers' process ids are in the file `pids`."""
        subject = self.orders.subject()
        atexit.register(self._trace, "an atexit handler")
        buffered = open(self.folder / "file", "w", encoding="utf-8")  # noqa: SIM115  its buffer is the point
        buffered.write("buffered in a file\n")
        sys.stdout.write("buffered in standard output\n")
        try:
            subject.open(self.orders.place).push(self.work)
            pids = subject.start(self.orders.place, self.handler)
            (self.folder / "pids").write_text(" ".join(map(str, pids)))
        finally:
            self._trace("a finally block")

    def _trace(self, what: str) -> None:
        fd = os.open(self.folder / "traces", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{os.getpid()} {what}\n".encode())
        os.close(fd)


def main() -> None:
    """Do what is told, pickled, on standard input."""
    starter: Starter = pickle.load(sys.stdin.buffer)
    os.chdir(starter.orders.folder)
    starter.run()


if __name__ == "__main__":
    main()
