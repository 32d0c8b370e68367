"""Which files are the queue's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowq_conformance.support.own_code import OwnCode


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/srv/queue/client.py", True),
        ("/srv/queue/deep/er/row.py", True),
        ("/srv/./queue//client.py", True),
        ("/srv/single.py", True),
        ("/srv/queue.py", False),
        ("/srv/queues/client.py", False),
        ("/srv/single.pyc", False),
        ("/srv/single.py/more.py", True),
        ("<string>", False),
        ("", False),
    ],
)
def test_the_files_of_a_queue_are_those_in_its_folders_and_its_single_ones(file: str, own: bool) -> None:
    assert OwnCode([Path("/srv/queue"), Path("/srv/single.py")], "").has(file) is own
