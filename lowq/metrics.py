"""How much is in queues, and how long it waits, in the text format of Prometheus (version 0.0.4).

https://prometheus.io/docs/instrumenting/exposition_formats/: families one after the other, each with its HELP and
TYPE, and label values in which backslash, double quote and line feed are escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from lowq.backend import Backend, Counts, State
from lowq.rules.paging import read_tasks

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LOOKED_AT = 10_000
"""Due tasks of a queue, the first in claim order, of which a scrape finds the oldest: it must not take seconds."""

Labels = tuple[tuple[str, str], ...]


def write_metrics(queues: Iterable[tuple[str, Backend]], now: datetime) -> str:
    """What Prometheus reads of the queues, which are given with their names."""
    found = [(name, *_look(queue)) for name, queue in queues]
    depth: list[tuple[Labels, float]] = [
        ((("queue", name), ("state", str(state))), getattr(counts, str(state)))
        for name, counts, _ in found
        for state in State
    ]
    ages: list[tuple[Labels, float]] = [
        ((("queue", name),), 0 if since is None else max(now - since, timedelta(0)).total_seconds())
        for name, _, since in found
    ]
    families = (
        ("lowq_tasks", "Tasks in the queue, by state; a lease that ran out counts as ready.", depth),
        (
            "lowq_oldest_due_age_seconds",
            "How long the oldest due task waits to be run; 0 where none is due.",
            ages,
        ),
    )
    return "".join(line for family in families for line in _write_family(*family))


def due_since(queue: Backend, most: int = sys.maxsize) -> datetime | None:
    """Since when the task waits that has been due for the longest; None where none is due.

    With `most` only the first so many in claim order are looked at.
    """
    ready = read_tasks(queue, State.READY, most=most)
    return min((max(task.pushed_at, task.not_before or task.pushed_at) for task in ready), default=None)


def _look(queue: Backend) -> tuple[Counts, datetime | None]:
    counts = queue.count()
    return counts, due_since(queue, LOOKED_AT) if counts.ready else None


def _write_family(name: str, words: str, samples: list[tuple[Labels, float]]) -> Iterator[str]:
    """The lines of a gauge."""
    if samples:
        yield f"# HELP {name} {words}\n# TYPE {name} gauge\n"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
        yield f"{name}{{{told}}} {value!r}\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
