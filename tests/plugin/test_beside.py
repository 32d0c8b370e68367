"""The plugin beside others; each of these is run where the other plugin is installed."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

BESIDE = ("asyncio", "anyio", "django", "pytest_cov", "randomly")

APP = """
    from datetime import UTC, datetime

    from lowq import task_queue

    sent = []

    @task_queue("mail.db")
    def mail(queue, work):
        sent.append((work, datetime.now(UTC)))
"""

ASYNC = """
    import asyncio
    from datetime import timedelta

    import pytest
    from app import mail, sent
    from lowq.testing import temp_queue

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.mark.{marker}
    async def test_it(lowq_inline, lowq_clock):
        sent.clear()
        await asyncio.sleep(0.01)
        mail("here")
        await asyncio.to_thread(mail, "in a thread")
        assert sent == [("here", lowq_clock.now()), ("in a thread", lowq_clock.now())]

    class TestOwn:
        @{fixture}
        async def lowq_queue(self, {takes}):
            await asyncio.sleep(0)
            with temp_queue() as queue:
                yield queue

        @pytest.mark.{marker}
        async def test_it(self, lowq_jobs, lowq_worker, lowq_clock):
            mail.queue.push(1, not_before=lowq_clock.now() + timedelta(hours=1))
            lowq_jobs.assert_one(mail, work=1)
            lowq_clock.advance(timedelta(hours=1))
            assert [run.outcome for run in lowq_worker.drain()] == ["done"]

    class TestPassedOn:
        @{fixture}
        async def lowq_queue(self, lowq_queue, {takes}):
            mail.queue.push("first")
            return lowq_queue

        @pytest.mark.{marker}
        async def test_it(self, lowq_jobs):
            lowq_jobs.assert_one(mail, work="first")
"""

DJANGO = """
    import pytest
    from app import mail, sent
    from django.contrib.auth.models import User
    from django.utils import timezone

    @pytest.mark.django_db
    def test_it(lowq_inline, lowq_clock):
        mail("x")
        assert timezone.now() == lowq_clock.now() == sent[0][1]
        assert User.objects.create(username="ann").date_joined == lowq_clock.now()
"""

SETTINGS = """
    SECRET_KEY = "x"
    USE_TZ = True
    INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("pytest_asyncio", {"marker": "asyncio", "fixture": "pytest_asyncio.fixture", "takes": "request"}),
        ("anyio", {"marker": "anyio", "fixture": "pytest.fixture", "takes": "anyio_backend"}),
    ],
)
def test_coroutines_push_and_sleep_and_make_the_queues(
    pytester: pytest.Pytester, plugin: str, words: dict[str, str]
) -> None:
    pytest.importorskip(plugin)
    pytester.makepyfile(app=APP, test_it=f"    import {plugin}\n{ASYNC.format(**words)}")

    pytester.runpytest_subprocess(timeout=120).assert_outcomes(passed=3)


def test_django_reads_the_same_instant(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_django")
    pytester.makepyfile(app=APP, settings=SETTINGS, test_it=DJANGO)

    result = pytester.runpytest_subprocess("--ds=settings", timeout=120)

    result.assert_outcomes(passed=1)


def test_an_application_is_covered_whole(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_cov")
    pytester.makepyfile(app=APP, test_it="from app import mail\n\ndef test_it(lowq_inline): mail(1)")

    result = pytester.runpytest_subprocess("--cov=app", timeout=120)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["app.py*100%*"])


def test_tests_in_a_random_order_do_not_meet(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_randomly")
    pytester.makepyfile(
        app=APP,
        test_it="""
        import pytest
        from app import mail

        @pytest.mark.parametrize("number", range(5))
        def test_it(lowq_jobs, number):
            mail(number)
            lowq_jobs.assert_one(mail, work=number)
        """,
    )

    pytester.runpytest_subprocess(timeout=120).assert_outcomes(passed=5)
