"""What an import costs: whole fresh interpreters, and what is left when the bare start is taken off."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import lowq
from bench.clockwork import Figures, interleaved, seconds

_PROGRAMS = {
    "bare": "pass",
    "sqlite3, json, logging": "import sqlite3, json, logging",
    "lowq": "import lowq",
    "lowq, a queue opened": "import lowq, sys; lowq.open_backend(sys.argv[1]).close()",
    "lowq.TaskQueue": "from lowq import TaskQueue",
    "huey": "import huey",
    "litequeue": "import litequeue",
    "persistqueue": "import persistqueue",
    "diskcache": "import diskcache",
}


def imports(place: Path, rounds: int) -> list[Figures]:
    """Milliseconds of a fresh interpreter that imports and leaves."""
    whole = Figures("a fresh interpreter that imports", "ms")
    bare = Figures("the same without the bare start", "ms")
    queue = place / "imports.db"
    lowq.open_backend(queue).close()
    for program in _PROGRAMS.values():
        _run(program, queue)  # the byte code is on the disk, and the files are in memory
    for name in interleaved(list(_PROGRAMS), rounds):
        whole.add(name, seconds(partial(_run, _PROGRAMS[name], queue)) * 1e3)
    for name in _PROGRAMS:
        for value, start in zip(whole.samples[name], whole.samples["bare"], strict=True):
            bare.add(name, value - start)
    del bare.samples["bare"]
    return [whole, bare]


def _run(program: str, queue: Path) -> None:
    subprocess.run([sys.executable, "-I", "-c", program, str(queue)], check=True, stdin=subprocess.DEVNULL)
