"""Traces of tasks: what a program's exporter gets of pushes, attempts and settlings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from lowq import Discard, Later, TaskQueue, Worker, hooks, open_backend
from lowq.contrib import otel
from lowq.worker.retry import Retry

NOW = timedelta(0)
MINUTE = timedelta(minutes=1)


class Traces:
    """The spans that have ended, by the first word of their names."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def one(self, word: str) -> ReadableSpan:
        (found,) = (span for span in self.exporter.get_finished_spans() if span.name.split()[0] == word)
        return found


@pytest.fixture
def traces() -> Iterator[Traces]:
    traces = Traces()
    otel.instrument(traces.provider)
    yield traces
    otel.uninstrument()
    traces.provider.shutdown()


class Mails(TaskQueue):
    """A queue whose tasks do as they are told."""

    name = "mails"
    retry = Retry(max_attempts=2, first=NOW, longest=NOW)

    def process(self, work: Any) -> Any:
        inner.append(trace.get_current_span().get_span_context().trace_id)
        if work == "acks":
            self.backend.ack(self.task.lease)  # and the worker finds it gone
        if work == "wait":
            return self.wait()
        if isinstance(work, str) and work in ENDINGS:
            raise ENDINGS[work]
        return None

    async def wait(self) -> None:
        await asyncio.sleep(0)
        inner.append(trace.get_current_span().get_span_context().trace_id)


inner: list[int] = []
ENDINGS = {"fails": ValueError("no such address"), "later": Later(timedelta(days=1)), "discard": Discard("gone")}


@pytest.fixture
def mails(tmp_path: Path) -> Iterator[Mails]:
    inner.clear()

    class Here(Mails):
        path = str(tmp_path / "jobs.db")

    with closing(Here(log_level=TaskQueue.SILENT)) as queue:
        yield queue


def context_of(span: ReadableSpan) -> tuple[int, int]:
    context = span.context
    assert context is not None
    return context.trace_id, context.span_id


def parent_of(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_task_is_one_trace_from_its_push_to_its_settling(traces: Traces, mails: Mails) -> None:
    (pushed,) = mails.push(1)
    mails.worker().drain()

    assert traces.all() == ["push mails", "claim mails", "process mails", "ack mails"]
    push, claim, process, settle = (traces.one(word) for word in ("push", "claim", "process", "ack"))
    assert [each.kind for each in (push, process)] == [SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert [each.kind for each in (claim, settle)] == [SpanKind.CLIENT, SpanKind.CLIENT]
    assert (parent_of(push), parent_of(process), parent_of(settle)) == (None, context_of(push), context_of(process))
    assert parent_of(claim) == context_of(push)
    assert [(each.context.trace_id, each.context.span_id) for each in process.links] == [context_of(push)]
    assert inner == [context_of(push)[0]]
    assert settle.start_time == process.end_time
    common = {"messaging.system": "lowq", "messaging.destination.name": "mails", "messaging.message.id": pushed.id}
    assert told(push) == {
        **common, "messaging.operation.type": "send", "messaging.operation.name": "push", "lowq.added": True,
    }  # fmt: skip
    assert told(claim) == {
        **common, "messaging.operation.type": "receive", "messaging.operation.name": "claim",
    }  # fmt: skip
    assert told(process).pop("lowq.pushed_at")
    assert {**told(process), "lowq.pushed_at": ""} == {
        **common,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "lowq.attempt": 1,
        "lowq.pushed_at": "",
    }
    assert told(settle)["messaging.operation.type"] == "settle"
    assert (told(settle)["messaging.operation.name"], told(settle)["lowq.outcome"]) == ("ack", "done")
    assert all(each.status.status_code is StatusCode.UNSET for each in (push, process, settle))


def test_what_is_pushed_inside_a_span_belongs_to_it(traces: Traces, mails: Mails) -> None:
    with traces.provider.get_tracer("shop").start_as_current_span("order") as order:
        mails.push(1, headers={"mine": "1"})

    task = mails.backend.tasks()[0]
    assert parent_of(traces.one("push")) == (order.get_span_context().trace_id, order.get_span_context().span_id)
    assert {"mine", "traceparent"} == set(task.headers)
    assert f"{context_of(traces.one('push'))[1]:016x}" in task.headers["traceparent"]


def test_a_context_that_the_caller_gave_stays_the_tasks(traces: Traces, mails: Mails) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    mails.push(1, headers={"traceparent": given})

    assert mails.backend.tasks()[0].headers["traceparent"] == given
    (link,) = traces.one("push").links
    assert f"{link.context.span_id:016x}" == "b7ad6b7169203331"


def test_a_batch_is_one_push_and_all_its_tasks_follow_it(traces: Traces, mails: Mails) -> None:
    mails.push(1, 2, 3)
    mails.worker(batch=3).drain()

    push = traces.one("push")
    assert told(push)["messaging.batch.message_count"] == 3
    assert traces.all().count("process mails") == traces.all().count("ack mails") == 3
    claim = traces.one("claim")
    assert told(claim)["messaging.batch.message_count"] == 3
    assert [(each.context.trace_id, each.context.span_id) for each in claim.links] == [context_of(push)] * 3
    others = [span for span in traces.exporter.get_finished_spans() if span is not claim]
    assert {context_of(span)[0] for span in others} == {context_of(push)[0]}


def test_a_claim_lasts_as_long_as_the_worker_waited_in_it(traces: Traces, mails: Mails) -> None:
    mails.push(1)
    lease = mails.backend.claim(lease_for=MINUTE)
    assert lease is not None

    hooks.tell_claim([lease.task], "mails", lambda: timedelta(seconds=2))
    hooks.tell_claim([], "mails", lambda: timedelta(seconds=2))

    claim = traces.one("claim")
    assert claim.start_time is not None
    assert claim.end_time == claim.start_time + 2_000_000_000


def test_each_claim_is_told_once_however_tasks_are_claimed(traces: Traces, mails: Mails) -> None:
    mails.push(1, 2, 3)
    worker = mails.worker()
    worker.run_one()
    worker.drain()

    assert traces.all().count("claim mails") == 3


@pytest.mark.parametrize(
    ("work", "error", "outcomes", "verbs"),
    [
        ("fails", "ValueError", ["retry", "dead"], ["release", "dead_letter"]),
        ("later", None, ["retry"], ["release"]),
        ("discard", None, ["dead"], ["dead_letter"]),
    ],
)
def test_an_attempt_that_fails_is_told_and_one_that_ends_otherwise_is_none(
    traces: Traces, mails: Mails, work: str, error: str | None, outcomes: list[str], verbs: list[str]
) -> None:
    mails.push(work)
    mails.worker().drain()

    spans = traces.exporter.get_finished_spans()
    attempts = [span for span in spans if span.name == "process mails"]
    settlings = [span for span in spans if span.name.split()[0] in ("ack", "release", "dead_letter")]
    assert [span.name for span in settlings] == [f"{verb} mails" for verb in verbs]
    assert [told(span).get("error.type") for span in attempts] == [error] * len(outcomes)
    assert [told(span)["lowq.attempt"] for span in attempts] == list(range(1, len(outcomes) + 1))
    failed = StatusCode.UNSET if error is None else StatusCode.ERROR
    assert {span.status.status_code for span in attempts} == {failed}
    assert [bool(span.events) for span in attempts] == [error is not None] * len(outcomes)
    assert [told(span)["lowq.outcome"] for span in settlings] == outcomes
    assert [told(span)["messaging.operation.name"] for span in settlings] == verbs


def test_a_lost_lease_is_an_error_of_the_settling(traces: Traces, mails: Mails) -> None:
    mails.push("acks")
    mails.worker().drain()

    assert told(traces.one("ack"))["error.type"] == "LeaseLost"
    assert traces.one("ack").status.status_code is StatusCode.ERROR


def test_a_coroutine_sees_its_attempt(traces: Traces, mails: Mails) -> None:
    mails.push("wait")
    mails.worker().drain()

    assert inner == [context_of(traces.one("push"))[0]] * 2


def test_an_attempt_may_be_a_trace_of_its_own_that_is_linked(traces: Traces, mails: Mails) -> None:
    otel.instrument(traces.provider, link=True)
    mails.push(1)
    mails.worker().drain()

    push, process, settle = (traces.one(word) for word in ("push", "process", "ack"))
    assert parent_of(process) is None
    assert [(each.context.trace_id, each.context.span_id) for each in process.links] == [context_of(push)]
    assert parent_of(settle) == context_of(process)


def test_a_task_that_nobody_traced_begins_a_trace(traces: Traces, mails: Mails) -> None:
    mails.backend.push(1, headers={"traceparent": "nonsense"})
    mails.worker().drain()

    assert parent_of(traces.one("process")) is None


def test_a_push_to_a_backend_carries_the_context_by_hand(traces: Traces, tmp_path: Path) -> None:
    with closing(open_backend(tmp_path / "plain.db")) as backend:
        with traces.provider.get_tracer("shop").start_as_current_span("order") as order:
            backend.push(1, headers=otel.headers())
        Worker(backend, print).drain()

    assert parent_of(traces.one("process")) == (order.get_span_context().trace_id, order.get_span_context().span_id)


def test_a_settling_in_another_process_than_the_handlers_follows_the_push(traces: Traces, mails: Mails) -> None:
    mails.push(1)
    Worker(mails.backend, mails.process, time_limit=timedelta(minutes=1)).drain()

    assert traces.all() == ["push mails", "claim mails", "ack mails"]  # the attempt's is in the memory of the other
    assert parent_of(traces.one("ack")) == context_of(traces.one("push"))


def test_what_is_not_settled_here_is_not_remembered_for_ever(
    traces: Traces, mails: Mails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "_REMEMBERED", 3)
    monkeypatch.setattr("lowq.worker.loop.tell_run", lambda *_: None)
    mails.push(*range(9))
    mails.worker().drain()

    assert len(otel._attempts) == 3
    otel._attempts.clear()


def test_nothing_is_traced_before_and_after(mails: Mails) -> None:
    traces = Traces()
    otel.instrument(traces.provider)
    otel.instrument(traces.provider)
    otel.uninstrument()
    otel.uninstrument()

    mails.push(1)
    mails.worker().drain()

    assert traces.all() == []
    assert inner == [0]
    traces.provider.shutdown()


def test_a_push_that_fails_is_told(traces: Traces, mails: Mails) -> None:
    with pytest.raises(ValueError, match="nan is not JSON"):
        mails.push(float("nan"))

    assert traces.one("push").status.status_code is StatusCode.ERROR
