"""Django's tasks in a queue of lowq: in a project of their own, with its tests, its worker and its checks.

Long: the programs of that project stand in it as text.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import BOUND

if find_spec("django") is None or not (find_spec("django.tasks") or find_spec("django_tasks")):
    pytest.skip("no tasks of Django", allow_module_level=True)

PROJECT = {
    "settings.py": """
        from datetime import timedelta
        from pathlib import Path

        from lowq import Retry

        BASE_DIR = Path(__file__).parent
        SECRET_KEY = "none"
        USE_TZ = True
        INSTALLED_APPS = ["shop", "lowq.contrib.django"]
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "app.db"}}
        TASKS = {
            "default": {
                "BACKEND": "lowq.contrib.django.LowqBackend",
                "QUEUES": ["default", "mail"],
                "OPTIONS": {
                    "location": BASE_DIR / "jobs.db",
                    "retry": Retry(max_attempts=3, first=timedelta(seconds=1)),
                    "log_level": 0,
                },
            },
            "manual": {
                "BACKEND": "lowq.contrib.django.LowqBackend",
                "OPTIONS": {"location": BASE_DIR / "manual.db", "start": False},
            },
        }
    """,
    "manage.py": """
        import os, sys
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
    """,
    "shop/__init__.py": "",
    "shop/models.py": """
        from django.db import models

        class Sent(models.Model):
            to = models.TextField()
    """,
    "shop/tasks.py": """
        import os

        try:
            from django.tasks import task
        except ImportError:
            from django_tasks import task

        import lowq

        from shop.models import Sent

        ran = []

        @task()
        def send(to, copies=1):
            ran.append((to, copies, lowq.current().attempt))
            if to == "nobody":
                raise lowq.Discard("nobody there")
            if to == "busy" and lowq.current().attempt < 3:
                raise ConnectionError("busy")
            if to == "never":
                raise ConnectionError("never")
            Sent.objects.create(to=to)
            return "a value"

        @task(takes_context=True)
        def look(context):
            result = context.task_result
            ran.append((result.id, result.backend, result.task.backend, result.task.queue_name, result.task.priority))

        @task(queue_name="mail", priority=5, takes_context=True)
        async def fetch(context, url):
            ran.append((url, context.attempt, context.task_result.status))
            await Sent.objects.acreate(to=url)

        @task()
        def twice():
            ran.append(1)
            ran.append(2)
            ran.append(3)
            ran.append(4)

        @task(queue_name="mail")
        async def twice_awaiting():
            ran.append(1)
            ran.append(2)
            ran.append(3)
            ran.append(4)

        @task(backend="manual")
        def count(work):
            Sent.objects.create(to=f"{work} {os.getpid()}")
    """,
    "pytest.ini": """
        [pytest]
        DJANGO_SETTINGS_MODULE = settings
        asyncio_default_fixture_loop_scope = function
        addopts = -p no:cacheprovider -p no:randomly
    """,
}

TESTS = """
    from datetime import timedelta

    import pytest
    from django.core.exceptions import ImproperlyConfigured
    from django.utils import timezone
    from lowq.contrib.django import queue_of, work_of
    from shop import tasks
    from shop.models import Sent

    try:
        from django.tasks import signals
    except ImportError:
        from django_tasks import signals

    pytestmark = pytest.mark.django_db

    @pytest.fixture(autouse=True)
    def told():
        tasks.ran.clear()
        heard = []
        def hear(name):
            def receiver(sender, task_result, **_):
                heard.append((name, str(task_result.status), task_result.attempts))
            return receiver
        receivers = {name: hear(name) for name in ("task_enqueued", "task_started", "task_finished")}
        for name, receiver in receivers.items():
            getattr(signals, name).connect(receiver)
        yield heard
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)

    def test_what_was_enqueued_is_asserted(lowq_jobs):
        result = tasks.send.enqueue("ann", copies=2)

        (task,) = lowq_jobs.assert_pushed(queue_of(tasks.send), work=work_of(tasks.send, "ann", copies=2))
        assert result.id == f"{task.id}@default"
        assert str(result.status) == "READY"
        assert task.work == {"task": "shop.tasks.send", "args": ["ann"], "kwargs": {"copies": 2}}

    def test_equal_tasks_are_kept_each(lowq_jobs):
        assert tasks.send.enqueue("ann").id != tasks.send.enqueue("ann").id

    def test_a_drained_task_ran_and_was_told(lowq_worker, told):
        tasks.send.enqueue("ann")

        (run,) = lowq_worker.drain()

        assert run.outcome == "done"
        assert tasks.ran == [("ann", 1, 1)]
        assert told == [
            ("task_enqueued", "READY", 0),
            ("task_started", "RUNNING", 1),
            ("task_finished", "SUCCESSFUL", 1),
        ]
        assert Sent.objects.get().to == "ann"

    @pytest.mark.django_db(transaction=True)  # Django's asynchronous calls have a connection of their own
    def test_a_coroutine_knows_its_context(lowq_worker, told):
        tasks.fetch.enqueue("https://example.org")

        runs = lowq_worker.drain()

        assert [run.outcome for run in runs] == ["done"], runs[0].error
        assert tasks.ran == [("https://example.org", 1, "RUNNING")]
        assert told[-1] == ("task_finished", "SUCCESSFUL", 1)

    def test_attempts_are_counted_and_only_the_last_is_the_end(lowq_worker, lowq_clock, told):
        tasks.send.enqueue("never")

        runs = lowq_worker.run_until_idle()

        assert [run.outcome for run in runs] == ["retry", "retry", "dead"]
        assert [each for each in told if each[0] == "task_finished"] == [("task_finished", "FAILED", 3)]

    def test_one_that_recovers_is_done(lowq_worker, lowq_clock, told):
        tasks.send.enqueue("busy")

        assert [run.outcome for run in lowq_worker.run_until_idle()] == ["retry", "retry", "done"]
        assert told[-1] == ("task_finished", "SUCCESSFUL", 3)

    def test_a_discarded_one_has_failed_at_once(lowq_worker, told):
        tasks.send.enqueue("nobody")

        assert [run.outcome for run in lowq_worker.drain()] == ["dead"]
        assert told[-1] == ("task_finished", "FAILED", 1)

    def test_a_task_knows_the_queue_and_the_priority_that_it_was_enqueued_with(lowq_worker):
        one = tasks.look.using(queue_name="mail", priority=7).enqueue()
        two = tasks.look.using(backend="manual").enqueue()

        lowq_worker.drain()

        assert sorted(tasks.ran) == sorted([
            (one.id, "default", "default", "mail", 7),
            (two.id, "manual", "manual", "default", 0),
        ])

    def test_a_priority_that_django_takes_is_taken(lowq_jobs):
        tasks.send.using(priority=3.0).enqueue("ann")

        assert lowq_jobs.assert_pushed(queue_of(tasks.send))[0].priority == 3

    def test_it_waits_for_its_time(lowq_worker, lowq_clock):
        tasks.send.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")

        assert lowq_worker.drain() == []
        lowq_clock.advance(timedelta(hours=1))
        assert [run.outcome for run in lowq_worker.drain()] == ["done"]

    def test_priority_comes_first(lowq_worker):
        tasks.send.enqueue("low")
        tasks.send.using(priority=10).enqueue("high")

        lowq_worker.drain()

        assert [each[0] for each in tasks.ran] == ["high", "low"]

    def test_a_crash_comes_again_when_the_lease_ends(lowq_worker, lowq_clock):
        tasks.send.enqueue("ann")

        lease = lowq_worker.crash(at="before")
        lowq_clock.move_to(lease.expires)
        lease = lowq_worker.crash(at="after")
        lowq_clock.move_to(lease.expires)
        (run,) = lowq_worker.drain()

        assert (run.outcome, run.task.attempts) == ("done", 3)
        assert [each.to for each in Sent.objects.all()] == ["ann", "ann"]

    @pytest.mark.django_db(transaction=True)  # Django's asynchronous calls have a connection of their own
    @pytest.mark.parametrize("task", [tasks.twice, tasks.twice_awaiting], ids=["function", "coroutine"])
    @pytest.mark.parametrize("lines", [0, 1, 2, 3])
    def test_a_crash_during_a_task_is_between_lines_of_its_own(lowq_worker, lowq_clock, task, lines):
        task.enqueue()

        lowq_worker.crash(queue_of(task), at="during", lines=lines)

        assert tasks.ran == [1, 2, 3][:lines]

    def test_inline(lowq_inline):
        tasks.send.enqueue("ann")
        assert Sent.objects.count() == 1

    def test_what_is_not_json_is_refused(lowq_inline):
        with pytest.raises(TypeError):
            tasks.send.enqueue(object())
        assert tasks.ran == []

    async def enqueue():
        return await tasks.send.aenqueue("async")

    def test_aenqueue(lowq_worker):
        import asyncio
        assert asyncio.run(enqueue()).id
        assert [run.outcome for run in lowq_worker.drain()] == ["done"]

    def test_guarded():
        with pytest.raises(BaseException, match="would use the application's queue"):
            tasks.send.enqueue("real")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def run(project: Path, *arguments: str, code: int = 0) -> str:
    """What it printed, standard error included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**environment, "DJANGO_SETTINGS_MODULE": "settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * BOUND,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def shell(project: Path, program: str) -> str:
    """What the program printed, run after Django's set-up."""
    return run(project, "-c", "import django; django.setup()\n" + textwrap.dedent(program))


def test_an_applications_tests_use_the_toolkit(project: Path) -> None:
    pytest.importorskip("pytest_django")
    (project / "test_shop.py").write_text(textwrap.dedent(TESTS))
    (project / "conftest.py").write_text("")

    slow = [f"-pno:{name}" for name in ("schemathesis", "hypothesispytest", "pytest_cov")]  # to import
    printed = run(project, "-m", "pytest", "-q", "--nomigrations", *slow)

    assert "failed" not in printed
    assert " passed" in printed


def test_what_is_enqueued_runs_in_the_background_beside_open_connections(project: Path) -> None:
    printed = shell(
        project,
        """
        import time
        from django.db import connection, transaction
        from shop.models import Sent
        from shop import tasks
        with connection.schema_editor() as editor:
            editor.create_model(Sent)
        tasks.send.enqueue("ann")
        with transaction.atomic():
            Sent.objects.create(to="mine")
            tasks.fetch.enqueue("bob")
        end = time.monotonic() + 60
        while Sent.objects.count() < 3 and time.monotonic() < end:
            time.sleep(0.02)
        print(*sorted(Sent.objects.values_list("to", flat=True)))
        """,
    )

    assert printed.split() == ["ann", "bob", "mine"]


@pytest.mark.parametrize("options", [["--processes", "2"], ["--backend", "manual", "--batch", "3"]])
def test_the_command_runs_what_waits(project: Path, options: list[str]) -> None:
    shell(
        project,
        """
        from django.db import connection
        from shop.models import Sent
        from shop import tasks
        with connection.schema_editor() as editor:
            editor.create_model(Sent)
        for each in "abc":
            tasks.count.enqueue(each)
        """,
    )

    printed = run(project, "manage.py", "lowq_worker", "--drain", *options)

    assert f"queue default of {project / 'manual.db'}: 3 ready" in printed
    sent = shell(project, "from shop.models import Sent; print(*sorted(Sent.objects.values_list('to', flat=True)))")
    assert sent.split()[::2] == ["a", "b", "c"]


def test_queues_that_nobody_names_are_told_of(project: Path) -> None:
    settings = project / "settings.py"
    settings.write_text(
        settings.read_text().replace(
            '"OPTIONS": {"location": BASE_DIR / "man', '"QUEUES": [], "OPTIONS": {"location": BASE_DIR / "man'
        )
    )
    shell(project, "from shop import tasks; tasks.look.using(backend='manual', queue_name='odd').enqueue()")

    left = run(project, "manage.py", "lowq_worker", "--drain", "--backend", "manual")
    named = run(project, "manage.py", "lowq_worker", "--drain", "--backend", "manual", "--queue", "odd")

    assert "TASKS['manual'] has no QUEUES, so others are left: name them with --queue: odd" in left
    assert "manual.db: 1 ready" in named
    assert "are left" not in named


def test_wrong_options_are_named_by_the_check(project: Path) -> None:
    printed = shell(
        project,
        """
        from lowq.contrib.django import LowqBackend

        for options in (
            {"location": "jobs.db", "retries": 3},
            {},
            {"location": "jobs.db", "time_limit": 30},
            {"location": "jobs://here"},
            {"location": "jobs.db"},
        ):
            print(*LowqBackend("default", {"OPTIONS": options}).check())
        """,
    )

    wrong = printed.splitlines()
    assert "TASKS['default']: task_queue: unknown option 'retries'; say retry=Retry(max_attempts=3)" in wrong[0]
    assert "location is missing" in wrong[1]
    assert "time_limit: expected a timedelta, got int" in wrong[2]
    assert "unknown kind of queue 'jobs'" in wrong[3]
    assert wrong[4:] == [""]


def test_the_check_of_django_asks_for_them(project: Path) -> None:
    settings = project / "settings.py"
    settings.write_text(settings.read_text().replace('BASE_DIR / "manual.db"', '"jobs://here"'))

    assert "lowq.E001" in run(project, "manage.py", "check", code=1)


def test_what_the_command_cannot_do_is_said(project: Path) -> None:
    printed = shell(
        project,
        """
        from django.core.management import call_command
        from django.core.management.base import CommandError

        for options in (["--queue", "nail"], ["--backend", "other"], ["--batch", "2"], ["--processes", "0"]):
            try:
                call_command("lowq_worker", "--drain", *options)
            except CommandError as error:
                print(error)
        """,
    )

    assert printed.splitlines() == [
        "TASKS: nail: there is no such backend or queue of lowq",
        "TASKS: other: there is no such backend or queue of lowq",
        "--batch is for one queue: several take turns, a task each; name one with --queue",
        "processes: expected 1 or more, got 0",
    ]
