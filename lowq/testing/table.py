"""Tasks as text, for a person who reads why a test failed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from lowq.backend import Backend, State, Task
from lowq.error_text import show_error
from lowq.rules.canonical import work_text
from lowq.run import Run

ROWS = 20
"""Tasks of one queue in a table."""

_WORK = 100


def line(task: Task) -> str:
    """The task in one line."""
    return "  ".join(part for part in (f"task {task.id}", str(task.state), *_details(task), _work(task)) if part)


def run_line(title: str, run: Run) -> str:
    """The run of a task of the queue `title` in one line."""
    told = f"{run.outcome} in attempt {run.attempt}"
    error = "" if run.error is None else f"  {show_error(run.error, _WORK)}"
    return f"{clock_time(run.at)}  {title}  task {run.task.id}  {told}  {_work(run.task)}{error}"


def queue_table(title: str, backend: Backend) -> list[str]:
    """The queue as it is now: a line of counts, and one for each of its first tasks."""
    if "inspect" not in backend.promises:
        return [f"{title}: this queue does not promise that it can be looked at (inspect)"]
    counts = backend.count()
    head = f"{title}: {counts.ready} ready, {counts.scheduled} scheduled, {counts.leased} leased, {counts.dead} dead"
    tasks = backend.tasks(limit=ROWS + 1)
    return [head, *indent(map(line, tasks[:ROWS])), *(["  …"] if len(tasks) > ROWS else [])]


def indent(lines: Iterable[str]) -> list[str]:
    """Each line, two spaces further in."""
    return [f"  {each}" for each in lines]


def clock_time(instant: datetime) -> str:
    """The instant in UTC."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + " UTC"


def _details(task: Task) -> Iterable[str]:
    if task.priority:
        yield f"priority {task.priority}"
    if task.state is State.SCHEDULED and task.not_before is not None:
        yield f"not before {clock_time(task.not_before)}"
    if task.attempts:
        yield f"attempts {task.attempts}"
    if task.key is not None:
        yield f"key {task.key!r}"
    if task.headers:
        yield _cut(f"headers {dict(task.headers)!r}")
    if task.reason:
        yield task.reason.strip().splitlines()[-1][:_WORK]


def _work(task: Task) -> str:
    return _cut(work_text(task.work))


def _cut(text: str) -> str:
    return text if len(text) <= _WORK else f"{text[: _WORK - 1]}…"
