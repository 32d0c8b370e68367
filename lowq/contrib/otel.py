"""OpenTelemetry's traces of tasks: spans for each push, claim, attempt and settling, joined across processes.

::

    from lowq.contrib import otel

    otel.instrument()        # once, where the program sets up its tracing

A push through a TaskQueue is a PRODUCER span, and its context travels in the task's headers (``traceparent``, or what
the global propagator writes), unless the caller gave one there himself. Each attempt is a CONSUMER span, linked to
that push, which is its parent, too; with ``instrument(link=True)`` it is a trace of its own. A claim that got a task,
and its settling, are CLIENT spans; of several tasks claimed at once there is one, with a link to each push. Names and
attributes follow the semantic conventions for messaging spans
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/), with ``messaging.system`` "lowq".

Needs opentelemetry-api only (``pip install "lowq[otel]"``); without an SDK nothing is recorded, and nothing breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from lowq import __version__, hooks
from lowq.backend import Task
from lowq.clock import SystemClock, to_micros
from lowq.current_task import CurrentTask
from lowq.endings import Discard, Later
from lowq.error_text import show_error, type_name
from lowq.hooks import Pushing
from lowq.run import Outcome, Run

_SETTLED: dict[Outcome, str] = {"done": "ack", "retry": "release", "dead": "dead_letter", "released": "release"}

_REMEMBERED = 1000
_attempts: dict[tuple[str, int], Span] = {}
"""The spans of attempts that are not settled yet."""

_provider: TracerProvider | None = None
_link = False


def instrument(tracer_provider: TracerProvider | None = None, *, link: bool = False) -> None:
    """From now on this process's pushes, and the tasks that it or its workers run, are traced.

    `tracer_provider` None is the global one. With `link` an attempt begins a trace of its own, linked to its push's.
    Called again it takes the new arguments.
    """
    global _provider, _link
    _provider, _link = tracer_provider, link
    hooks.around_push(_around_push)
    hooks.around_task(_around_task)
    hooks.after_claim(_after_claim)
    hooks.after_run(_after_run)


def uninstrument() -> None:
    """Nothing is traced any more."""
    for hook in (_around_push, _around_task, _after_claim, _after_run):
        hooks.remove(hook)


def headers() -> dict[str, str]:
    """The headers that carry the current context, for a push to a `Backend` by hand: ``push(work, headers=…)``."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def _around_push(pushing: Pushing) -> Iterator[None]:
    name, attributes = f"push {pushing.queue}", _describe(pushing.queue, "send", "push")
    if pushing.count > 1:
        attributes["messaging.batch.message_count"] = pushing.count
    _, given = _origin(pushing.headers)
    with _tracer().start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes, links=given) as span:
        if not given:  # a context that the caller gave himself is the task's, and stays
            propagate.inject(pushing.headers)
        yield
        if pushing.pushed is not None and len(pushing.pushed) == 1:
            span.set_attribute("messaging.message.id", pushing.pushed[0].id)
            span.set_attribute("lowq.added", pushing.pushed[0].added)


def _after_claim(tasks: list[Task], queue: str, took: timedelta) -> None:
    """The claim, as long as it lasted; of one task it belongs to the trace of the push."""
    end = to_micros(SystemClock().now()) * 1000
    attributes = _describe(queue, "receive", "claim")
    origins = [_origin(task.headers) for task in tasks]
    parent = context.Context()
    if len(tasks) > 1:
        attributes["messaging.batch.message_count"] = len(tasks)
    else:
        attributes["messaging.message.id"] = tasks[0].id
        parent = parent if _link else origins[0][0]
    links = [link for _, told in origins for link in told]
    start = end - took // timedelta(microseconds=1) * 1000
    _tracer().start_span(f"claim {queue}", parent, SpanKind.CLIENT, attributes, links, start).end(end)


@contextmanager
def _around_task(current: CurrentTask) -> Iterator[None]:
    queue = "" if current.backend is None else current.backend.name
    pushed, links = _origin(current.task.headers)
    span = _tracer().start_span(
        f"process {queue}",
        context.Context() if _link else pushed,
        SpanKind.CONSUMER,
        {**_describe(queue, "process", "process"), **_describe_task(current.task)},
        links,  # also where it is the parent: which span made the task is then told in one way
    )
    with _remember(current.task, span), trace.use_span(span, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except (Later, Discard) as ending:
            span.set_attribute("lowq.ending", type(ending).__name__)
            raise
        except BaseException as error:
            span.set_attribute("error.type", type_name(error))
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, show_error(error)))
            raise


@contextmanager
def _remember(task: Task, span: Span) -> Iterator[None]:
    """The span ends with this, and is known to the settling of its attempt."""
    while len(_attempts) >= _REMEMBERED:  # those of a process whose parent settles
        _attempts.pop(next(iter(_attempts)), None)
    _attempts[task.id, task.attempts] = span
    try:
        yield
    finally:
        span.end()


def _after_run(run: Run, queue: str) -> None:
    """The settling, since the handler's end where that was seen here; that a lease was lost is an error."""
    parent, links = _origin(run.task.headers)
    attempt = _attempts.pop((run.task.id, run.task.attempts), None)
    if attempt is not None:
        parent, links = trace.set_span_in_context(attempt, context.Context()), []
    elif _link:
        parent = context.Context()
    lost = run.outcome == "lost"
    verb = _SETTLED.get(run.outcome, "ack")
    span = _tracer().start_span(
        f"{verb} {queue}",
        parent,
        SpanKind.CLIENT,
        {
            **_describe(queue, "settle", verb),
            **_describe_task(run.task),
            "lowq.attempt": run.attempt,
            "lowq.outcome": run.outcome,
            **({"error.type": "LeaseLost"} if lost else {}),
        },
        links if _link else (),
        getattr(attempt, "end_time", None),  # of an SDK's span
    )
    if lost:
        span.set_status(Status(StatusCode.ERROR, "the lease went to another worker meanwhile"))
    span.end()


def _origin(headers: Mapping[str, str]) -> tuple[context.Context, list[Link]]:
    """The context of the push, as the headers tell it, and the link to it."""
    pushed = propagate.extract(dict(headers), context.Context())
    told = trace.get_current_span(pushed).get_span_context()
    return pushed, [Link(told)] if told.is_valid else []


def _describe(queue: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "messaging.system": "lowq",
        "messaging.destination.name": queue,
        "messaging.operation.type": kind,
        "messaging.operation.name": name,
    }


def _describe_task(task: Task) -> dict[str, Any]:
    return {
        "messaging.message.id": task.id,
        "lowq.attempt": task.attempts,
        "lowq.pushed_at": task.pushed_at.isoformat(),
    }


def _tracer() -> trace.Tracer:
    return trace.get_tracer("lowq", __version__, _provider)
