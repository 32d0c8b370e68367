"""A test never meets the application's real queue without saying so: whoever pushes, from wherever.

Long: each place from which a test may push has a test of its own.
"""

from __future__ import annotations

from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

APP = """
    import os

    import lowq
    from lowq import TaskQueue, task_queue

    sent = []

    @task_queue("mail.db")
    def mail(queue, work):
        sent.append((work, os.getpid()))

    class Signup(TaskQueue):
        path = "signup.db"

        def process(self, work):
            mail({"to": work})
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(app=APP)
    return pytester


def run(project: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    """Run one file of tests in a process of its own."""
    project.makepyfile(test_it="import pytest\nfrom app import Signup, mail, sent\n" + dedented(test))
    return project.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", *arguments, timeout=120)


def dedented(text: str) -> str:
    return dedent(text)


def files(project: pytest.Pytester) -> list[str]:
    """What stands beside the application's real queues: databases, locks, logs."""
    return sorted(path.name for path in project.path.glob("*.db*"))


class TestFail:
    @pytest.mark.parametrize(
        "use",
        [
            "mail(1)",
            "mail.queue.push(1)",
            "mail.queue.start()",
            "mail.queue.worker()",
            "Signup().backend.count()",
            "Signup().push(1, 2)",
        ],
    )
    def test_a_test_without_fixtures_that_uses_a_queue_fails_with_what_to_ask_for(
        self, project: pytest.Pytester, use: str
    ) -> None:
        result = run(project, f"def test_it():\n    {use}")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["E * this test would use the application's queue 'default' at */*.db,*"])
        assert "Ask for lowq_queue in the test's arguments" in result.stdout.str()
        assert files(project) == []

    def test_an_application_that_swallows_exceptions_does_not_hide_it(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            def test_it():
                try:
                    mail(1)
                except Exception:
                    pass
            """,
        )

        result.assert_outcomes(failed=1)

    def test_code_outside_of_tests_is_stopped_too(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import unittest

            @pytest.fixture(scope="module")
            def wide():
                mail("module")

            @pytest.fixture(scope="session")
            def wider():
                mail("session")

            def test_module(wide): pass
            def test_session(wider): pass

            class TestClass:
                @classmethod
                def setup_class(cls): mail("class")
                def test_it(self): pass

            class TestMethod:
                def setup_method(self): mail("method")
                def test_it(self): pass

            class Case(unittest.TestCase):
                @classmethod
                def setUpClass(cls): mail("setUpClass")
                def test_it(self): pass

            class Case2(unittest.TestCase):
                def setUp(self): mail("setUp")
                def test_it(self): pass

            class Case3(unittest.TestCase):
                def test_it(self): mail("test")
            """,
        )

        result.assert_outcomes(errors=5, failed=2)
        assert result.stdout.str().count("Ask for lowq_queue") >= 7
        assert files(project) == []

    def test_a_module_that_pushes_when_it_is_imported_is_told(self, project: pytest.Pytester) -> None:
        result = run(project, "mail(1)\ndef test_it(lowq_queue): pass")

        result.assert_outcomes(errors=1)
        assert "while modules are imported" in result.stdout.str()
        assert files(project) == []

    def test_a_conftest_file_that_pushes_is_told(self, project: pytest.Pytester) -> None:
        project.makeconftest("from app import mail\nmail(1)")

        result = run(project, "def test_it(): pass")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "while modules are imported" in result.stderr.str()
        assert files(project) == []

    def test_an_application_imported_by_the_test_itself_is_guarded(self, project: pytest.Pytester) -> None:
        project.makepyfile(test_it="def test_it():\n    from app import mail\n    mail(1)")

        project.runpytest_subprocess(timeout=60).assert_outcomes(failed=1)

        assert files(project) == []

    def test_a_doctest_and_a_text_file_are_guarded(self, project: pytest.Pytester) -> None:
        project.makefile(".txt", test_doc="    >>> from app import mail\n    >>> _ = mail(1)\n")
        project.makepyfile(documented='"""\n>>> from app import mail\n>>> _ = mail(1)\n"""')

        result = project.runpytest_subprocess("--doctest-modules", "documented.py", "test_doc.txt", timeout=60)

        result.assert_outcomes(failed=2)
        assert files(project) == []

    def test_a_thread_that_outlives_its_test_reaches_no_real_queue(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import threading

            go, done, errors = threading.Event(), threading.Event(), []

            def later():
                go.wait(30)
                for use in (lambda: mail("late"), mail.queue.start, lambda: Signup().push(1)):
                    try:
                        use()
                    except BaseException as error:
                        errors.append(str(error))
                done.set()

            def test_it(lowq_queue):
                mail("early")
                threading.Thread(target=later, daemon=True).start()

            def test_other():
                go.set()
                assert done.wait(30)
                assert len(errors) == 3
                assert all("Ask for lowq_queue" in error for error in errors)
            """,
        )

        result.assert_outcomes(passed=2)
        assert files(project) == []

    def test_tests_in_xdist_workers_are_guarded(self, project: pytest.Pytester) -> None:
        result = run(project, "def test_it(): mail(1)\ndef test_ok(lowq_inline): mail(1)", "-n2")

        result.assert_outcomes(failed=1, passed=1)
        assert files(project) == []

    def test_a_queue_that_is_opened_by_its_path_was_asked_for(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import lowq

            def test_it(tmp_path):
                queue = lowq.open_backend(tmp_path / "own.db")
                queue.push(1)
                assert lowq.Worker(queue, sent.append).drain()

            def test_twin():
                from lowq.testing import temp_queue
                with temp_queue():
                    mail(1)
            """,
        )

        result.assert_outcomes(passed=2)


class TestMarked:
    def test_the_marker_acts_by_itself(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import os, unittest
            from datetime import UTC, datetime

            def works():
                assert {pid for _, pid in sent} <= {os.getpid()}
                found = [work for work, _ in sent]
                sent.clear()
                return found

            @pytest.mark.lowq(mode="inline")
            def test_inline():
                Signup().push("ann")
                assert works() == [{"to": "ann"}]

            @pytest.mark.lowq(mode="manual")
            def test_manual():
                mail(1)
                assert works() == []

            @pytest.mark.lowq(now="2031-05-05T05:05:05Z")
            def test_now():
                assert datetime.now(UTC) == datetime(2031, 5, 5, 5, 5, 5, tzinfo=UTC)

            @pytest.mark.lowq(mode="inline")
            class TestMethods:
                def setup_method(self): mail("set up")
                def test_it(self): assert works() == ["set up"]
                def teardown_method(self):
                    mail("torn down")
                    assert works() == ["torn down"]

            @pytest.mark.lowq(mode="inline")
            class Case(unittest.TestCase):
                @classmethod
                def setUpClass(cls): mail("class")
                def setUp(self): mail("set up")
                def test_it(self): assert works() == ["class", "set up"]
                def tearDown(self):
                    mail("torn down")
                    assert works() == ["torn down"]

            @pytest.mark.parametrize("number", [1, 2])
            @pytest.mark.lowq(mode="inline")
            def test_parametrized(number):
                mail(number)
                assert works() == [number]

            @pytest.mark.lowq(leftovers="fail")
            def test_left():
                mail("forgotten")
            """,
        )

        result.assert_outcomes(passed=7, failed=1)
        result.stdout.fnmatch_lines(["*8 tests use its fixtures*", "left over: neither run nor asserted"])
        assert files(project) == []

    @pytest.mark.parametrize("how", [["-o", "lowq_mode=inline"], ["--lowq-mode=inline"]])
    def test_the_ini_and_the_option_act_by_themselves(self, project: pytest.Pytester, how: list[str]) -> None:
        project.makefile(
            ".txt", test_doc="    >>> from app import mail, sent\n    >>> _ = mail(1)\n    >>> len(sent)\n    1\n"
        )
        result = run(
            project,
            """
            import os, unittest

            def test_function():
                sent.clear()
                Signup().push("ann")
                assert sent == [({"to": "ann"}, os.getpid())]

            class Case(unittest.TestCase):
                def test_it(self):
                    sent.clear()
                    mail(1)
                    self.assertEqual(sent, [(1, os.getpid())])
                    sent.clear()
            """,
            *how,
            "test_it.py",
            "test_doc.txt",
        )

        result.assert_outcomes(passed=3)
        assert files(project) == []

    def test_a_mark_of_a_whole_module_or_given_by_a_conftest_acts_too(self, project: pytest.Pytester) -> None:
        project.makeconftest(
            """
            import pytest
            def pytest_collection_modifyitems(items):
                for item in items:
                    if item.name == "test_given":
                        item.add_marker(pytest.mark.lowq(mode="inline"))
            """
        )
        project.makepyfile(
            test_module="""
            import pytest
            from app import mail, sent
            pytestmark = pytest.mark.lowq(mode="inline")
            def test_it():
                sent.clear(); mail(1); assert len(sent) == 1
            """
        )

        result = run(project, "def test_given():\n    sent.clear(); mail(1); assert len(sent) == 1", ".")

        result.assert_outcomes(passed=2)

    def test_a_marked_test_runs_on_each_of_the_users_backends(self, project: pytest.Pytester) -> None:
        project.makeconftest(
            """
            import lowq, pytest

            @pytest.fixture(params=["sqlite", "memory"])
            def lowq_backend(request):
                if request.param == "sqlite":
                    return None
                return lambda path, clock: lowq.open_backend(f"memory://{path}", clock=clock)
            """
        )

        result = run(
            project,
            """
            @pytest.mark.lowq(mode="inline")
            def test_function():
                sent.clear(); mail(1); assert len(sent) == 1

            @pytest.mark.lowq(mode="inline")
            class TestClass:
                def test_method(self):
                    sent.clear(); mail(1); assert len(sent) == 1
            """,
        )

        result.assert_outcomes(passed=4)


class TestIsolate:
    def test_every_test_has_queues_of_its_own(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            mail("at import")

            @pytest.fixture(scope="module", autouse=True)
            def wide():
                mail("before")
                yield
                mail("after")

            def test_one():
                assert mail("one")[0].added
                assert [task.work for task in mail.queue.backend.tasks()] == ["before", "one"]
                assert not mail.queue.start()

            def test_two():
                assert mail("one")[0].added
                assert [task.work for task in mail.queue.backend.tasks()] == ["one"]
                assert sent == []
            """,
            "-o",
            "lowq_guard=isolate",
        )

        result.assert_outcomes(passed=2)
        assert files(project) == []

    def test_off_is_the_real_queue_and_a_marker_says_it_of_one_test(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            @pytest.mark.lowq(guard="off")
            def test_real():
                mail.queue.push(1)
                assert mail.queue.backend.count().ready == 1
                mail.queue.close()

            def test_guarded():
                mail(1)
            """,
        )

        result.assert_outcomes(passed=1, failed=1)
        assert "mail.db" in files(project)

    def test_a_word_that_there_is_not_is_refused(self, project: pytest.Pytester) -> None:
        result = run(project, "def test_it(): pass", "--lowq-guard=on")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "--lowq-guard: expected fail, isolate or off, got 'on'" in result.stderr.str()

    def test_the_conformance_suite_is_not_guarded(self, project: pytest.Pytester) -> None:
        result = project.runpytest_subprocess(
            "--pyargs",
            "lowq_conformance",
            "--lowq-harness=sqlite",
            "--lowq-only=WORKER-1",
            "--lowq-profile=quick",
            timeout=120,
        )

        assert result.ret == pytest.ExitCode.OK


class TestOwnFixture:
    """A user's own `lowq_queue` takes the place of lowq's."""

    @pytest.mark.parametrize(
        "body",
        [
            "(tmp_path):\n    with temp_queue(tmp_path) as queue: yield queue",
            "(lowq_queue):\n    return lowq_queue",
            "(lowq_queue):\n    pass",
            "(lowq_queue):\n    yield",
            "():\n    with temp_queue(): yield",
        ],
    )
    def test_it_works_with_everything_else(self, project: pytest.Pytester, body: str) -> None:
        project.makeconftest(
            f"import pytest\nfrom lowq.testing import temp_queue\n@pytest.fixture\ndef lowq_queue{body}"
        )

        result = run(
            project,
            """
            def test_jobs(lowq_jobs, lowq_worker):
                mail(1)
                lowq_jobs.assert_one(mail, work=1)
                assert [run.outcome for run in lowq_worker.drain()] == ["done"]

            def test_inline(lowq_inline):
                sent.clear(); mail(1); assert len(sent) == 1

            @pytest.mark.lowq(mode="inline")
            def test_marked():
                sent.clear(); mail(1); assert len(sent) == 1

            def test_live(lowq_live_worker):
                mail.queue.push(1)
                lowq_live_worker(mail).wait_until_idle()

            @pytest.mark.lowq(leftovers="fail")
            def test_left(lowq_queue):
                mail("forgotten")

            def test_shown(lowq_jobs):
                mail("shown")
                lowq_jobs.assert_nothing()
            """,
        )

        result.assert_outcomes(passed=4, failed=2)
        result.stdout.fnmatch_lines(["left over: neither run nor asserted", "*- lowq tasks -*"])
        assert "KeyError" not in result.stdout.str()

    def test_one_of_a_wider_scope_works(self, project: pytest.Pytester) -> None:
        project.makeconftest(
            """
            import pytest
            from lowq.testing import temp_queue
            @pytest.fixture(scope="module")
            def lowq_queue():
                with temp_queue() as queue: yield queue
            """
        )

        result = run(
            project,
            """
            def test_one(lowq_jobs):
                mail(1)
                lowq_jobs.assert_one(mail, work=1)

            def test_two(lowq_worker):
                assert len(lowq_worker.drain()) == 1
            """,
        )

        result.assert_outcomes(passed=2)

    def test_one_of_a_class_is_made_on_the_clock_that_the_test_has(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            from datetime import UTC, datetime, timedelta
            from lowq.testing import temp_queue

            def later(clock, jobs, worker):
                mail.queue.push(1, not_before=clock.now() + timedelta(hours=1))
                assert worker.drain() == []
                clock.advance(timedelta(hours=1))
                assert len(worker.drain()) == 1

            class TestOwn:
                @pytest.fixture
                def lowq_queue(self):
                    with temp_queue() as queue: yield queue

                def test_clock_last(self, lowq_jobs, lowq_worker, lowq_clock):
                    later(lowq_clock, lowq_jobs, lowq_worker)

                @pytest.mark.lowq(now="2031-05-05T12:00:00Z")
                def test_marked(self, lowq_jobs):
                    assert datetime.now(UTC).year == 2031

            class TestParameters:
                @pytest.fixture(params=["a", "b"])
                def lowq_queue(self, request, lowq_queue):
                    mail.queue.push(request.param)
                    return lowq_queue

                def test_each(self, lowq_jobs, lowq_clock, request):
                    lowq_jobs.assert_one(mail, work=request.node.callspec.params["lowq_queue"])

                @pytest.mark.parametrize("lowq_queue", ["c"], indirect=True)
                def test_indirect(self, lowq_jobs):
                    lowq_jobs.assert_one(mail, work="c")
            """,
        )

        result.assert_outcomes(passed=5)

    def test_what_cannot_be_on_the_clock_or_is_closed_is_told(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            from lowq.testing import temp_queue

            @pytest.fixture(scope="module")
            def lowq_queue():
                with temp_queue() as queue: yield queue

            def test_clock_first(lowq_clock, lowq_jobs): pass
            def test_clock_last(lowq_jobs, lowq_clock): pass
            def test_clock_alone(lowq_clock, lowq_queue): pass
            @pytest.mark.lowq(now="2031-05-05T12:00:00Z")
            def test_marked(lowq_jobs): pass

            class TestClosed:
                @pytest.fixture
                def lowq_queue(self):
                    with temp_queue() as queue: return queue

                def test_it(self, lowq_jobs): pass
            """,
        )

        result.assert_outcomes(errors=4, failed=1)
        told = [
            line for line in result.outlines if line.startswith("lowq_clock: the queues of this test run on the real")
        ]
        assert len(told) == 4
        assert "gave a TempQueue that nobody entered, or that is closed" in result.stdout.str()

    def test_what_is_no_store_is_told(self, project: pytest.Pytester) -> None:
        project.makeconftest("import pytest\n@pytest.fixture\ndef lowq_queue(): return 'mail.db'")

        result = run(project, "def test_it(lowq_jobs): pass")

        result.assert_outcomes(errors=1)
        assert "gave 'mail.db', and a lowq.testing.TempQueue was expected" in result.stdout.str()
