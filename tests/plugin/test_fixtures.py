"""The plugin as its users meet it: a project of their own, and pytest in a process of its own.

Long: each fixture and each setting has a class of its own.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

APP = """
    from lowq import TaskQueue, task_queue

    sent = []

    @task_queue("mail.db")
    def mail(queue, work):
        sent.append(work)
        if work == "bad":
            raise ValueError("no such address")

    class Signup(TaskQueue):
        path = "signup.db"

        def process(self, work):
            mail({"to": work["user_id"]}, priority=5)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(app=APP)
    return pytester


def run(project: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    """Run one file of tests in a process of its own."""
    project.makepyfile(test_it="import pytest\nfrom app import Signup, mail, sent\n" + _dedented(test))
    return project.runpytest_subprocess("-p", "no:randomly", *arguments, timeout=120)


def _dedented(text: str) -> str:
    from textwrap import dedent

    return dedent(text)


class TestFixtures:
    def test_the_application_runs_in_a_store_under_tmp_path(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            def test_signup(lowq_queue, lowq_jobs, lowq_worker, tmp_path):
                Signup().push({"user_id": 42})
                Signup().start()
                lowq_jobs.assert_pushed(Signup, work={"user_id": 42})
                runs = lowq_worker.drain()
                assert [run.outcome for run in runs] == ["done", "done"]
                assert sent == [{"to": 42}]
                stores = sorted(path.name for path in (tmp_path / "lowq").glob("*.db"))
                assert [name.partition("-")[0] for name in stores] == ["mail", "signup"]

            def test_the_next_test_begins_empty(lowq_jobs):
                lowq_jobs.assert_nothing(mail)
            """,
        )

        result.assert_outcomes(passed=2)
        assert not list(project.path.glob("*.db*"))

    def test_the_clock_is_the_queue_s_and_the_application_s(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            from datetime import UTC, datetime, timedelta

            def test_later(lowq_worker, lowq_clock, lowq_jobs):
                mail.queue.push("x", not_before=datetime.now(UTC) + timedelta(hours=1))
                lowq_jobs.assert_pushed(mail, in_=timedelta(hours=1), due=False)
                assert lowq_worker.drain() == []
                lowq_clock.advance(timedelta(hours=1))
                assert [run.at for run in lowq_worker.drain()] == [lowq_clock.now()] == [datetime.now(UTC)]

            def test_time_is_real_again():
                assert datetime.now(UTC).year != 2030

            @pytest.mark.lowq(now="2031-05-05T05:05:05Z")
            def test_a_marker_says_when(lowq_queue):
                assert datetime.now(UTC) == lowq_queue.clock.now() == datetime(2031, 5, 5, 5, 5, 5, tzinfo=UTC)
            """,
        )

        result.assert_outcomes(passed=3)

    def test_a_clock_asked_for_too_late_is_told(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            def test_late(lowq_queue, request):
                request.getfixturevalue("lowq_clock")
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*name lowq_clock in the arguments of the test, or of the fixture*"])

    def test_frozen_time_does_not_reach_pytest_s_durations(self, project: pytest.Pytester) -> None:
        result = run(project, "def test_it(lowq_clock, lowq_queue): mail('x')", "--durations=0", "-vv")

        result.assert_outcomes(passed=1)
        seconds = [
            float(line.split("s ")[0])
            for line in result.outlines
            if "test_it.py::test_it" in line and "s " in line[:12]
        ]
        assert len(seconds) == 3
        assert max(seconds) < 60

    INLINE = """
        def signup():
            sent.clear()
            Signup().push({"user_id": 1})
            return sent

        def test_fixture(lowq_inline):
            assert signup() == [{"to": 1}]

        @pytest.mark.lowq(mode="inline")
        def test_marker(lowq_queue):
            assert signup() == [{"to": 1}]

        @pytest.mark.lowq(mode="manual")
        def test_closest(lowq_queue):
            assert signup() == []

        def test_unmarked(lowq_queue):
            assert signup() == UNMARKED
        """

    @pytest.mark.parametrize(
        ("arguments", "unmarked"),
        [([], []), (["-o", "lowq_mode=inline"], [{"to": 1}]), (["--lowq-mode=inline"], [{"to": 1}])],
    )
    def test_inline_by_fixture_marker_ini_and_option(
        self, project: pytest.Pytester, arguments: list[str], unmarked: list[object]
    ) -> None:
        result = run(project, self.INLINE.replace("UNMARKED", repr(unmarked)), *arguments)

        result.assert_outcomes(passed=4)

    def test_an_inline_error_reaches_the_test_or_is_recorded(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            def test_raised(lowq_inline, lowq_clock):
                with pytest.raises(ValueError, match="no such address") as error:
                    mail("bad")
                assert "attempt 1 of 5; it would run again in" in error.value.__notes__[0]

            @pytest.mark.lowq(on_error="record")
            def test_recorded(lowq_inline, lowq_jobs):
                mail("bad")
                lowq_jobs.assert_one(mail, work="bad", due=False)
            """,
        )

        result.assert_outcomes(passed=2)

    def test_a_live_worker_runs_and_can_be_killed(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            from datetime import timedelta

            def test_it(lowq_live_worker, lowq_jobs, lowq_clock):
                mail.queue.push("a")
                worker = lowq_live_worker(mail)
                worker.wait_until_idle()
                lowq_jobs.assert_nothing(mail)
                worker.kill()
                mail.queue.push("b")
                assert not worker.alive
                lowq_jobs.assert_one(mail, work="b")
            """,
        )

        result.assert_outcomes(passed=1)

    def test_live_mode_starts_workers_that_end_with_the_test(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import os
            from lowq.clock import SystemClock
            from datetime import timedelta

            pids = []

            @pytest.mark.lowq(mode="live")
            def test_it(lowq_queue, lowq_jobs, tmp_path):
                Signup.process = lambda self, work: (tmp_path / "pid").write_text(str(os.getpid()))
                Signup().push(1)
                assert Signup().start()
                assert not Signup().start()
                left = SystemClock().countdown(timedelta(seconds=30))
                while Signup().backend.count().ready or Signup().backend.count().leased:
                    assert left() > timedelta(0)
                pids.append(int((tmp_path / "pid").read_text()))
                assert pids != [os.getpid()]

            def test_afterwards():
                with pytest.raises(ProcessLookupError):
                    os.kill(pids[0], 0)
            """,
        )

        result.assert_outcomes(passed=2)

    def test_another_backend_takes_sqlite_s_place(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            import lowq

            @pytest.fixture
            def lowq_backend():
                return lambda path, clock: lowq.open_backend(f"memory://{path}", clock=clock)

            def test_it(lowq_queue, lowq_worker, lowq_clock):
                Signup().push({"user_id": 1})
                assert "persistent" not in Signup().backend.promises
                assert len(lowq_worker.drain()) == 2
            """,
        )

        result.assert_outcomes(passed=1)

    def test_tests_in_xdist_workers_do_not_meet(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            @pytest.mark.parametrize("number", range(12))
            def test_it(lowq_jobs, lowq_worker, lowq_clock, number):
                mail(number)
                lowq_jobs.assert_one(mail, work=number)
                assert [run.task.work for run in lowq_worker.drain()] == [number]
            """,
            "-n2",
        )

        result.assert_outcomes(passed=12)


class TestReports:
    FAILING = """
        def test_it(lowq_jobs, lowq_clock):
            mail({"user_id": "42"})
            lowq_jobs.assert_pushed(mail, work={"user_id": 42})
        """

    @pytest.mark.parametrize("arguments", [[], ["-n1"]])
    def test_a_failure_shows_the_nearest_miss_and_the_tasks(
        self, project: pytest.Pytester, arguments: list[str]
    ) -> None:
        result = run(project, self.FAILING, *arguments)

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                ">*lowq_jobs.assert_pushed(mail, work={'user_id': 42})".replace("'", '"'),
                "E*AssertionError: no task with work={'user_id': 42}",
                "E*work.user_id: expected 42 (int), got '42' (str)",
                "*- lowq tasks -*",
                "now: 2030-01-01 12:00:00.123456 UTC",
                "mail.db: 1 ready, 0 scheduled, 0 leased, 0 dead",
                '  task 1  ready  {"user_id":"42"}',
            ]
        )
        assert "lowq/testing/jobs.py" not in result.stdout.str()

    def test_a_set_up_that_fails_shows_the_tasks_too(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            @pytest.fixture
            def welcomed(lowq_worker):
                mail("bad")
                lowq_worker.drain()
                assert not mail.queue.backend.count().scheduled

            def test_it(welcomed): pass
            """,
        )

        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            [
                "*- lowq tasks -*",
                "mail.db: 0 ready, 1 scheduled, 0 leased, 0 dead",
                '  task 1  scheduled  not before * UTC  attempts 1  ValueError: no such address  "bad"',
                "runs:",
                '  * UTC  mail.db  task 1  retry in attempt 1  "bad"  ValueError: no such address',
            ]
        )

    def test_the_store_can_be_named_in_the_report(self, project: pytest.Pytester) -> None:
        result = run(project, self.FAILING, "--lowq-keep-db")

        (line,) = (line for line in result.outlines if line.startswith("kept in "))
        assert list(Path(line.removeprefix("kept in ")).glob("mail-*.db"))

    def test_leftovers_fail_a_test_that_passed(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            def test_left(lowq_queue):
                mail("forgotten")

            def test_asserted(lowq_jobs):
                mail("seen")
                lowq_jobs.assert_pushed(mail)

            def test_ran(lowq_worker):
                mail("bad")
                lowq_worker.drain()

            def test_collected(lowq_jobs):
                with lowq_jobs.capture() as new:
                    mail("seen")
                assert new.works() == ["seen"]

            @pytest.mark.lowq(leftovers="allow")
            def test_allowed(lowq_queue):
                mail("forgotten")

            def test_failed_already(lowq_queue):
                mail("forgotten")
                assert False, "the test's own"
            """,
            "-o",
            "lowq_leftovers=fail",
        )

        result.assert_outcomes(passed=4, failed=2)
        result.stdout.fnmatch_lines(["left over: neither run nor asserted", '  mail.db: task 1  ready  "forgotten"'])
        result.stdout.fnmatch_lines(["*the test's own*"])
        assert result.stdout.str().count("left over:") == 1 + 1  # in the failure, and in the summary


class TestSettings:
    WRONG = (
        ("mode='sometimes'", "mode: expected manual, inline or live, got 'sometimes'"),
        ("modus='inline'", "unknown keyword 'modus'; there are mode, on_error"),
        ("gaurd='off', now='soon'", "unknown keyword 'gaurd'; there are mode, on_error, leftovers"),
        ("gaurd='off'", "max_runs; did you mean guard?"),
        ("'inline'", "it takes keywords only"),
        ("now='2030-01-01T12:00'", "now: 2030-01-01T12:00 has no time zone; write 2030-01-01T12:00:00Z for UTC"),
        ("now='soon'", "now: expected a datetime, or a time such as 2030-01-01T12:00Z, got 'soon'"),
        ("max_runs=0", "max_runs: expected a number from 1, got 0"),
        ("max_runs='many'", "max_runs: expected a number from 1, got 'many'"),
    )

    def test_a_marker_that_cannot_be_is_told(self, project: pytest.Pytester) -> None:
        tests = [
            f"@pytest.mark.lowq({marker})\ndef test_{number}(lowq_queue): pass"
            for number, (marker, _) in enumerate(self.WRONG)
        ]

        result = run(project, "\n".join(tests))

        result.assert_outcomes(errors=len(self.WRONG))
        for _, said in self.WRONG:
            assert said in result.stdout.str()
        assert "pytest_lowq" not in result.stdout.str()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--lowq-mode=x"], "--lowq-mode: expected manual, inline or live, got 'x'"),
            (["--lowq-now=2030-01-01"], "--lowq-now: 2030-01-01 has no time zone; write 2030-01-01T00:00:00Z"),
            (
                ["-o", "lowq_clock_patch=x"],
                "lowq_clock_patch in the ini file: expected freezegun, time-machine or none, got 'x'",
            ),
            (
                ["-o", "lowq_gaurd=off"],
                "lowq_gaurd in the ini file: there is no such setting; did you mean lowq_guard?; there are lowq_mode",
            ),
        ],
    )
    def test_an_option_that_cannot_be_is_told_once_before_any_test(
        self, project: pytest.Pytester, arguments: list[str], said: str
    ) -> None:
        result = run(project, "def test_it(lowq_queue): pass", *arguments)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert result.stderr.str().count(f"ERROR: {said}") == 1

    def test_an_endless_drain_ends(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
            @pytest.mark.lowq(max_runs=5)
            def test_it(lowq_worker):
                Signup.process = lambda self, work: self.push(work + 1)
                Signup().push(0)
                lowq_worker.drain()
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*more than 5 runs, and still tasks are due*"])

    def test_twice_finds_a_handler_that_cannot_be_repeated(self, project: pytest.Pytester) -> None:
        test = """
            def test_it(lowq_worker):
                accounts = {"ann"}
                Signup.process = lambda self, work: accounts.remove(work)
                Signup().push("ann")
                lowq_worker.drain()
            """

        run(project, test).assert_outcomes(passed=1)
        result = run(project, test, "--lowq-twice")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "lowq: --lowq-twice --lowq-seed=0",
                "*at the second delivery of the work 'ann'*",
                "runs:",
                '*signup.db  task 1  done in attempt 1  "ann"',
                "*signup.db  task 1  retry in attempt 2  \"ann\"  KeyError: 'ann'  (delivered once more)",
                "run the same again with --lowq-twice --lowq-seed=0",
            ]
        )

    @pytest.mark.parametrize("distributed", [[], ["-n2"]])
    def test_a_random_order_is_another_each_time_and_can_be_had_again(
        self, project: pytest.Pytester, distributed: list[str]
    ) -> None:
        test = """
            def test_it(lowq_worker):
                Signup.process = lambda self, work: sent.append(f"s{work}")
                for number in range(10):
                    Signup().push(number)
                    mail(f"m{number}")
                lowq_worker.drain()
                assert not "".join(sent)
            """

        def order(*arguments: str) -> tuple[str, str]:
            result = run(project, test, "--lowq-shuffle", *distributed, *arguments)
            result.assert_outcomes(failed=1)
            (seed,) = re.findall(r"^lowq: --lowq-shuffle --lowq-seed=(\d+)$", result.stdout.str(), re.M)
            (again,) = re.findall(r"^run the same again with (.*)$", result.stdout.str(), re.M)
            assert again == f"--lowq-shuffle --lowq-seed={seed}"
            (found,) = re.findall(r"^E +AssertionError: assert not '(.*)'$", result.stdout.str(), re.M)
            return seed, found

        seed, first = order()
        assert order("--lowq-seed", seed) == (seed, first)
        assert order() != (seed, first)

    @pytest.mark.parametrize("distributed", [[], ["-n2"]])
    def test_a_line_says_that_tests_use_it_and_how(self, project: pytest.Pytester, distributed: list[str]) -> None:
        test = """
            def test_one(lowq_jobs): pass
            def test_two(lowq_worker): pass
            def test_none(): pass
            """
        project.makeini("[pytest]\nlowq_leftovers = fail\n")

        result = run(project, test, "--lowq-mode=inline", *distributed)

        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["lowq: 2 tests use its fixtures, mode=inline, leftovers=fail"])

    def test_time_machine_moves_the_application_s_clock(self, project: pytest.Pytester) -> None:
        pytest.importorskip("time_machine")
        project.makeini("[pytest]\nlowq_clock_patch = time-machine\n")

        result = run(
            project,
            """
            import sys
            from datetime import UTC, datetime, timedelta

            def test_later(lowq_jobs, lowq_clock):
                lowq_clock.advance(timedelta(days=1))
                mail.queue.push("x", not_before=datetime.now(UTC) + timedelta(hours=1))
                lowq_jobs.assert_pushed(mail, in_=timedelta(hours=1))
                assert datetime.now(UTC) == lowq_clock.now()
                assert "freezegun" not in sys.modules
            """,
        )

        result.assert_outcomes(passed=1)
        duration = re.search(r"passed in ([\d.]+)s", result.stdout.str())
        assert duration is not None
        assert float(duration[1]) < 120


class TestDoctests:
    @pytest.mark.parametrize("package", [True, False])
    def test_a_module_is_imported_under_two_names(self, project: pytest.Pytester, package: bool) -> None:
        """Without `__init__.py` pytest imports its modules by their stems, and the application by their paths."""
        folder = project.mkdir("shop")
        if package:
            (folder / "__init__.py").touch()
        queues = "from lowq import TaskQueue, task_queue\n"
        queues += '@task_queue("shop.db")\ndef mail(queue, work):\n    """\n    >>> 1\n    1\n    """\n'
        queues += 'class Orders(TaskQueue):\n    path = "orders.db"\n    def process(self, work): ...\nOrders()\n'
        (folder / "queues.py").write_text(queues)
        (folder / "views.py").write_text("from shop.queues import mail\n")

        result = project.runpytest_subprocess(
            "--doctest-modules", "-p", "no:randomly", "shop/views.py", "shop/queues.py", timeout=60
        )

        assert result.ret == (pytest.ExitCode.OK)
        result.assert_outcomes(passed=1)


class TestUnused:
    def test_installed_and_unused_it_imports_pytest_and_the_standard_library_only(
        self, pytester: pytest.Pytester
    ) -> None:
        pytester.makepyfile(
            """
            import sys

            def test_it():
                names = {name.partition(".")[0] for name in sys.modules}
                assert not names & {"lowq", "freezegun", "rich", "click"}
                ours = [name for name in sys.modules if name.startswith(("pytest_lowq.", "lowq_conformance"))]
                assert ours == [
                    "pytest_lowq.plugin",
                    "lowq_conformance",
                    "lowq_conformance.run",
                    "lowq_conformance.run.options",
                ]
            """
        )

        pytester.runpytest_subprocess("-p", "no:hypothesispytest", timeout=60).assert_outcomes(passed=1)

    def test_it_leaves_no_file_and_no_header(self, pytester: pytest.Pytester) -> None:
        folder = pytester.mkdir("project")
        (folder / "test_it.py").write_text("def test_it(): pass")

        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", folder, timeout=60)

        assert {path.name for path in folder.iterdir()} <= {"test_it.py", "__pycache__"}
        assert "lowq:" not in result.stdout.str()

    def test_it_can_be_switched_off(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("def test_it(lowq_queue): pass")

        result = pytester.runpytest_subprocess("-p", "no:lowq", timeout=60)

        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*fixture 'lowq_queue' not found*"])

    def test_lowq_s_own_modules_are_never_rewritten(self) -> None:
        """pytest rewrites the asserts of every package that comes with a plugin, unless the module says no.

        A module without an assert is not changed by it.
        """
        import lowq

        for file in Path(lowq.__file__).parent.rglob("*.py"):
            tree = ast.parse(file.read_text())
            asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
            assert "PYTEST_DONT_REWRITE" in (ast.get_docstring(tree) or "") or not asserts, file

    def test_the_twins_work_without_pytest(self, tmp_path: Path) -> None:
        import subprocess

        program = (
            "import sys; sys.modules['pytest'] = None\n"
            "from lowq.testing import fake_clock, inline, temp_queue\n"
            "with fake_clock() as clock, temp_queue() as queue, inline() as mode:\n"
            "    ran = []\n"
            "    queue.handle(None, ran.append)\n"
            "    queue.backend().push(1)\n"
            "    assert ran == [1]\n"
            "assert '_pytest' not in sys.modules\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

        assert (answer.returncode, answer.stderr) == (0, "")
