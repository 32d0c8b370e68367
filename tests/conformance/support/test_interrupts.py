"""The points at which a call can be interrupted, as a fresh process is told of them."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, tempfile
from contextlib import closing

import lowq
from lowq_conformance.support.interrupts import Cut, Interruptible, own_files

def push(number):
    with tempfile.TemporaryDirectory() as folder, closing(lowq.open_backend(f"{folder}/jobs.db")) as queue:
        client = Interruptible(queue)
        client.cut = cut = Cut(own_files(queue))
        client.push(number)
        return cut.points

print(json.dumps([len(push(number)) for number in range(3)]))
"""


def test_the_first_call_of_a_process_tells_of_as_many_points_as_the_next_ones() -> None:
    """Not a matter of course: CPython 3.12 and 3.13 have other ways to be asked for instructions."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)

    assert ran.stderr == ""
    first, *rest = json.loads(ran.stdout)
    assert rest == [rest[0]] * len(rest)
    assert first >= rest[0] > 20
