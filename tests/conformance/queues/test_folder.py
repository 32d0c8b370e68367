"""The sound queue in a folder stays sound when somebody comes between its steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lowq_conformance.queues.sound.folder import Folder


def test_a_task_that_was_given_back_is_not_taken_before_what_is_more_urgent_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = Folder().open(tmp_path), Folder().open(tmp_path)
    slow.push("waits")
    listed = os.listdir

    def overtaken(path: Path) -> list[str]:
        monkeypatch.undo()
        names = listed(path)
        held = other.claim()
        other.push("urgent", priority=1)
        assert held is not None
        other.release(held)
        return names

    monkeypatch.setattr(os, "listdir", overtaken)
    claimed = slow.claim()

    assert claimed is not None
    assert claimed.work == "urgent"


def test_who_gave_a_task_back_cannot_settle_it_any_more(tmp_path: Path) -> None:
    queue = Folder().open(tmp_path)
    queue.push("work")
    first = queue.claim()
    assert first is not None
    queue.release(first)
    second = queue.claim()
    assert second is not None

    with pytest.raises(FileNotFoundError):
        queue.ack(first)

    queue.ack(second)
