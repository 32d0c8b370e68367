"""Ids that are numbers in push order: those of the queues in SQLite and in memory; the contract knows only text."""

from __future__ import annotations


def number(id: str) -> int:
    """The number of the task with that id; 0, which none has, for a text that is no id of ours."""
    return int(id) if id.isascii() and id.isdigit() and len(id) < 19 and id[0] != "0" else 0
