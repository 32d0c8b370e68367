"""What is declared wrongly is refused where it is declared; what is decided late is asked when it is used.

Long: each mistake in a declaration is told in class and decorator.
"""

from __future__ import annotations

import functools
import os
import threading
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from processes import answer, python

from lowq import InvalidLocation, Retry, TaskQueue, Worker, open_backend, task_queue
from lowq.testing import SyncWorker, inline, temp_queue


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nothing(queue: TaskQueue, work: Any) -> None: ...


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "text"),
        [
            ({"retry": 3}, r"retry: expected a Retry, got int; say retry=Retry\(max_attempts=3\)"),
            ({"retry": Retry}, "retry: expected a Retry, got Retry; say"),
            ({"retry": True}, r"retry: expected a Retry, got bool; say retry=Retry\(max_attempts=…\)"),
            ({"lease_for": 60}, r"lease_for: expected a timedelta, got int; say timedelta\(seconds=60\)"),
            ({"time_limit": "1m"}, "time_limit: expected a timedelta, got str"),
            ({"time_limit": timedelta(0)}, "time_limit: expected more than zero"),
            ({"linger": 5}, "linger: expected a timedelta, got int"),
            ({"options": "durability=none"}, "options: expected a dict"),
            ({"clock": object()}, "clock: expected a Clock"),
            ({"name": 7}, "name: expected a string, got int"),
            ({"dedupe": "never"}, "dedupe: expected until_done"),
            ({"on_dead": print.__name__}, "on_dead: expected a function of"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_of_a_wrong_kind_is_refused_in_class_and_decorator(self, setting: dict[str, Any], text: str) -> None:
        with pytest.raises((TypeError, ValueError), match=text):
            task_queue("q.db", **setting)(nothing)
        with pytest.raises((TypeError, ValueError), match=text):
            type("Jobs", (TaskQueue,), {"path": "q.db", "process": lambda _self, _work: None, **setting})()

    def test_a_worker_says_so_too(self) -> None:
        with pytest.raises(TypeError, match=r"say retry=Retry\(max_attempts=3\)"):
            Worker(open_backend("memory://x"), print, retry=3)  # type: ignore[arg-type]  # this mistake is the test

    @pytest.mark.parametrize(
        ("name", "value", "say"),
        [
            ("max_retries", 3, r"retry = Retry\(max_attempts=3\)"),
            ("retries", 3, r"retry = Retry\(max_attempts=3\)"),
            ("retry_delay", 3, r"retry = Retry\(first="),
            ("visibility_timeout", 30, r"lease_for = timedelta\(seconds=30\)"),
            ("job_timeout", 30, r"time_limit = timedelta\(seconds=30\)"),
            ("time_limt", 30, "time_limit"),
            ("retrys", Retry(), "retry"),
            ("dedup", "off", "dedupe"),
            ("lingers", timedelta(0), "linger"),
            ("proces", nothing, "process"),
            ("maxRetries", 3, r"retry = Retry\(max_attempts=3\)"),
            ("leaseFor", timedelta(minutes=1), "lease_for"),
            ("timelimit", timedelta(minutes=1), "time_limit"),
            ("loglevel", 3, "log_level"),
        ],
    )
    def test_a_misspelt_attribute_is_refused_with_the_right_spelling(self, name: str, value: Any, say: str) -> None:
        with pytest.raises(TypeError, match=f"Jobs: {name} is nothing that a TaskQueue knows: say {say}"):
            type("Jobs", (TaskQueue,), {"path": "q.db", name: value})
        with pytest.raises(TypeError, match=f"Jobs: {name} is nothing that a TaskQueue knows: say {say}"):
            type("Jobs", (type("MixedIn", (), {name: value}), TaskQueue), {"path": "q.db"})

    WORDS: ClassVar[list[tuple[str, Any, str]]] = [
        ("attempts", 3, r"retry = Retry\(max_attempts=3\)"),
        ("tries", 3, r"retry = Retry\(max_attempts=3\)"),
        ("delay", 5, r"retry = Retry\(first=timedelta\(seconds=5\)\) for another attempt, or not_before at the push"),
        ("delay", timedelta(seconds=5), r"retry = Retry\(first="),
        ("backoff", True, r"retry = Retry\(first="),
        ("retry_interval", 2.5, r"retry = Retry\(first=timedelta\(seconds=2.5\)\)"),
        ("max_backoff", 600, r"retry = Retry\(longest=timedelta\(seconds=600\)\)"),
        ("backoff_factor", 3, r"retry = Retry\(factor=3\)"),
        ("timeout", 30, r"time_limit = timedelta\(seconds=30\)"),
        ("queue", "mail", "name = 'mail'"),
        ("unique", True, 'dedupe = "until_done"'),
        ("priority", 5, r"it at the push, push\(work, priority=…\)"),
        ("countdown", 60, r"it at the push, push\(work, not_before=…\)"),
        ("concurrency", 4, r"queue.worker\(processes=4\)"),
        ("on_failure", nothing, "on_dead"),
        ("on_success", nothing, "on_dead for what is set aside, or hooks.after_run"),
    ]

    @pytest.mark.parametrize(("name", "value", "say"), WORDS)
    def test_what_another_queue_calls_a_setting_is_refused_where_no_method_reads_it(
        self, name: str, value: Any, say: str
    ) -> None:
        class Base(TaskQueue):
            path = "q.db"

        whole = {"process": lambda _self, _work: None}
        before = type("Before", (Base,), {name: value})  # no queue yet: who makes one of it may read the attribute

        for bases, attributes in (((Base,), {name: value, **whole}), ((before,), whole)):
            with pytest.raises(
                TypeError, match=f"Jobs: {name} is nothing that a TaskQueue knows: say {say}.*; none of"
            ):
                type("Jobs", bases, attributes)
        with pytest.raises(TypeError, match=f"unknown option '{name}'; say {say.replace(' = ', '=')}"):
            task_queue("q.db", **{name: value})(nothing)

    @pytest.mark.parametrize(("name", "value"), [word[:2] for word in WORDS])
    @pytest.mark.parametrize(
        "reads",
        [
            "def process(self, work): return self.{0}",
            "def process(self, work): return getattr(self, '{0}')",
            "def process(self, work): return [self.{0} for each in [1]]",
            "process = functools.cache(lambda self, work: self.{0})",
            "def process(self, work): ...\n  @property\n  def other(self): return self.{0}",
            "def process(self, work): ...\n  @classmethod\n  def other(cls): return cls.{0}",
        ],
    )
    def test_one_that_a_method_reads_is_the_class_s_own(self, name: str, value: Any, reads: str) -> None:
        known = {"TaskQueue": TaskQueue, "functools": functools, "value": value}
        exec(f"class Jobs(TaskQueue):\n  path = 'q.db'\n  {name} = value\n  {reads.format(name)}", known)

        assert isinstance(known["Jobs"], type)

    def test_what_a_class_that_is_mixed_in_reads_is_its_own(self) -> None:
        class Client:
            max_retries = 3
            timeout = 30

            def fetch(self) -> int:
                return self.max_retries + self.timeout

        class Jobs(Client, TaskQueue):
            path = "q.db"

            def process(self, work: int) -> int:
                return work + self.fetch()

        assert Jobs().process(1) == 34

    @pytest.mark.parametrize("setting", ["path", "retry", "log_level"])
    def test_a_setting_as_a_keyword_of_the_class_is_told_where_it_stands(self, setting: str) -> None:
        with pytest.raises(
            TypeError, match=f"Jobs: {setting}: what a queue is told stands in its class: {setting} = …"
        ):
            type("Jobs", (TaskQueue,), {}, **{setting: 3})

    def test_keywords_of_a_class_that_is_mixed_in_reach_it(self) -> None:
        class Tagged:
            tag: str

            def __init_subclass__(cls, tag: str, **more: Any) -> None:
                super().__init_subclass__(**more)
                cls.tag = tag

        class Jobs(TaskQueue, Tagged, tag="x"):
            path = "q.db"

        assert Jobs.tag == "x"

    def test_attributes_of_ones_own_are_left_alone(self) -> None:
        class Jobs(TaskQueue):
            path = "q.db"
            paths = ("a", "b")
            url = "https://example.org"
            timeout = 5
            queue = object()
            headers = MappingProxyType({"accept": "*/*"})
            lock = object()
            _max_retries = 3
            log_level = TaskQueue.SILENT

            def process(self, work: Any) -> None: ...

            def send(self) -> int:
                return self.timeout

            def delay(self) -> None: ...

            def attempts(self) -> None: ...

        assert Jobs().log_level == TaskQueue.SILENT
        assert Jobs(TaskQueue.INFO).log_level == TaskQueue.INFO

    @pytest.mark.parametrize(
        ("option", "say"),
        [
            ({"max_retries": 3}, r"say retry=Retry\(max_attempts=3\)"),
            ({"timeout": 3}, "say time_limit="),
            ({"nmae": "x"}, "did you mean name"),
            ({"loglevel": 3}, "say log_level"),
            ({"location": "q.db"}, "say path='q.db'"),
            ({"retires": 3}, r"did you mean retry\?"),
            ({"nonsense": 3}, "'nonsense'"),
        ],
    )
    def test_an_unknown_option_is_refused_with_what_there_is(self, option: dict[str, Any], say: str) -> None:
        with pytest.raises(TypeError, match=f"task_queue: unknown option .*{say}.*expected one of clock, dedupe"):
            task_queue("q.db", **option)(nothing)


class TestAQueueAsAHandler:
    """Called, it would push the work that is run, be refused, and count as done."""

    def test_its_function_is_run(self) -> None:
        seen = []

        @task_queue("q.db")
        def send(queue: TaskQueue, work: Any) -> None:
            seen.append(work)

        class Send(TaskQueue):
            path = "other.db"

            def process(self, work: Any) -> None:
                seen.append(work)

        backend = open_backend("memory://handlers")
        for handler in (send, send.queue, Send(), Send, functools.partial(send), send.__call__):
            backend.push(7)
            (run,) = Worker(backend, handler).drain()  # type: ignore[arg-type]  # what a user gives
            assert run.outcome == "done"
        with temp_queue() as store:
            for handler in (send, Send, functools.partial(send)):
                SyncWorker(store).perform(handler, 7)
            store.handle("third.db", send)
            store.backend("third.db").push(7)
            SyncWorker(store).drain("third.db")

        assert seen == [7] * 10

    def test_what_wraps_it_is_refused_by_name(self) -> None:
        @task_queue("q.db")
        def send(queue: TaskQueue, work: Any) -> None: ...

        @functools.wraps(send)
        def wrapper(work: Any) -> Any:
            return send(work)

        for handler, text in (
            (wrapper, "send wraps the queue of that name"),
            (functools.partial(send, priority=1), "a partial of the queue send pushes the work"),
        ):
            with pytest.raises(TypeError, match=text):
                Worker(open_backend("memory://x"), handler)


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("LOWQ_TEST_JOBS", raising=False)
    return "LOWQ_TEST_JOBS"


class TestAPathDecidedLate:
    def test_by_a_function_once_when_it_is_first_used(self, folder: Path) -> None:
        asked = []

        def place() -> str:
            asked.append(1)
            return "late.db"

        @task_queue(place)
        def send(queue: TaskQueue, work: Any) -> None: ...

        assert (asked, repr(send)) == ([], "<queue of send at a path that is decided when it is used>")
        send.queue.push(1)
        send.queue.push(2)
        assert asked == [1]
        assert send.queue.location.place == str(folder / "late.db")
        send.queue.close()

    def test_by_the_environment(self, folder: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        @task_queue(f"env://{variable}")
        def send(queue: TaskQueue, work: Any) -> None: ...

        with pytest.raises(InvalidLocation, match=f"send: path: the environment variable {variable} is not set"):
            send.queue.push(1)
        monkeypatch.setenv(variable, "here.db")
        send.queue.push(1)

        assert (folder / "here.db").exists()
        send.queue.close()

    def test_by_a_method_a_property_or_a_lambda_of_a_class(self) -> None:
        class Jobs(TaskQueue):
            def process(self, work: Any) -> None: ...

        class Method(Jobs):
            def path(self) -> str:
                return f"{type(self).__name__}.db"

        class Property(Jobs):
            @property
            def path(self) -> str:  # type: ignore[override]  # as an application writes it
                return "Property.db"

        class Lambda(Jobs):
            path = lambda: "Lambda.db"  # noqa: E731 (as an application writes it)

        class Static(Jobs):
            path = staticmethod(lambda: "Static.db")

        for kind in (Method, Property, Lambda, Static):
            queue = kind()
            assert os.path.basename(queue.location.place) == f"{kind.__name__}.db"

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (
                lambda: os.environ["NO_QUEUE"],
                "send: path: <lambda>, which decides it, raised KeyError: 'NO_QUEUE'",
            ),
            (lambda: None, "send: path: <lambda> answered None; expected a path or URL"),
            (lambda: "pigeon://home", "send: path, from <lambda>: .*unknown kind of queue 'pigeon'"),
        ],
    )
    def test_who_decides_wrongly_is_named(self, path: Any, text: str) -> None:
        @task_queue(path)
        def send(queue: TaskQueue, work: Any) -> None: ...

        with pytest.raises(InvalidLocation, match=text):
            send.queue.push(1)

    def test_by_a_function_once_for_all_threads(self) -> None:
        asked = []
        together = threading.Barrier(4)

        def decide() -> str:
            asked.append(threading.get_ident())
            threading.Event().wait(0.05)  # the others come meanwhile
            return f"{len(asked)}.db"

        @task_queue(decide)
        def send(queue: TaskQueue, work: Any) -> None: ...

        def use() -> None:
            together.wait()
            send.queue.push(threading.get_ident())

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(asked) == 1
        assert send.queue.backend.count().ready == 4

    def test_who_decides_by_the_queue_itself_is_told(self) -> None:
        @task_queue(lambda: f"{send.queue.location}2")
        def send(queue: TaskQueue, work: Any) -> None: ...

        with pytest.raises(InvalidLocation, match="what decides it uses this queue, whose path is not known yet"):
            send.queue.push(1)

    def test_two_handlers_of_one_are_told_when_it_is_decided(self) -> None:
        @task_queue("q.db")
        def first(queue: TaskQueue, work: Any) -> None: ...

        @task_queue(lambda: "q.db")
        def second(queue: TaskQueue, work: Any) -> None: ...

        with pytest.raises(ValueError, match="tell them apart with name="):
            second.queue.push(1)
        assert first.__name__ == "first"

    def test_in_a_test_it_stands_for_a_temporary_one(self, folder: Path) -> None:
        seen = []

        @task_queue(lambda: "late.db")
        def send(queue: TaskQueue, work: Any) -> None:
            seen.append(work)

        with temp_queue() as store, inline(store):
            send(1)

        assert seen == [1]
        assert not (folder / "late.db").exists()

    def test_a_decorator_without_a_path_is_still_told(self) -> None:
        with pytest.raises(TypeError, match=r'a path is missing: write @task_queue\("jobs.db"\)'):
            task_queue(nothing)  # type: ignore[arg-type]  # this mistake is the test

    def test_a_worker_in_the_background_runs_it(self, folder: Path) -> None:
        program = python(
            """
            from datetime import timedelta
            from lowq import task_queue

            @task_queue(lambda: "late.db", linger=timedelta(0))
            def send(queue, work):
                queue.backend.push("sent") if work == "send" else None

            send("send")
            """
        )

        answer(program)

        assert (folder / "late.db").exists()
