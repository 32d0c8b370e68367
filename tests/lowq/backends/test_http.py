"""The client of a server: cut connections, lost answers, restarts, forks, tokens, and what is no server of ours.

The contract itself is tested over HTTP where it is tested for every backend.

Long: each way in which a connection can fail is tried on its own.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from backends import BOUND, served
from processes import answer, python
from proxy import Proxy, between

from lowq import (
    Backend,
    BackendUnavailable,
    Counts,
    FakeClock,
    InvalidLocation,
    InvalidWork,
    Item,
    Lease,
    LeaseLost,
    NotAllowed,
    OwnWork,
    Pushed,
    QueueClosed,
    TaskQueue,
    Worker,
    open_backend,
)
from lowq.location import Location, locate

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@pytest.fixture
def url(file: Path) -> Iterator[str]:
    with served(file) as found:
        yield found


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with between(url) as found:
        yield found


@pytest.fixture
def queue(proxy: Proxy) -> Iterator[Backend]:
    backend = open_backend(proxy.url)
    yield backend
    backend.close()


def claimed(queue: Backend) -> Lease:
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    return lease


class TestLostAnswers:
    """Each verb acts once, whether its answer arrives or the connection is cut first."""

    def test_a_push_is_kept_once_and_says_that_it_added(self, queue: Backend, proxy: Proxy) -> None:
        proxy.lose(3)

        assert queue.push({"a": 1}) == Pushed("1", True)
        assert (queue.count(), proxy.lost) == (Counts(ready=1), 3)

    def test_a_push_is_kept_once_without_dedupe_too(self, proxy: Proxy) -> None:
        queue = open_backend(proxy.url, name="off", dedupe="off")
        proxy.lose(2)

        assert [queue.push(1).added, queue.push(1).added] == [True, True]
        assert queue.count() == Counts(ready=2)
        queue.close()

    def test_a_batch_is_kept_once(self, queue: Backend, proxy: Proxy) -> None:
        proxy.lose(1)

        assert [each.added for each in queue.push_many([Item(1), Item(2), Item(1)])] == [True, True, False]
        assert queue.count() == Counts(ready=2)

    def test_a_claim_gives_the_same_lease_and_leases_no_other_task(self, queue: Backend, proxy: Proxy) -> None:
        queue.push_many([Item(1), Item(2)])
        proxy.lose(2)

        lease = claimed(queue)

        assert (lease.work, lease.task.attempts, queue.count()) == (1, 1, Counts(ready=1, leased=1))
        queue.ack(lease)

    def test_many_are_claimed_once(self, queue: Backend, proxy: Proxy) -> None:
        queue.push_many([Item(n) for n in range(5)])
        proxy.lose(1)

        assert [lease.work for lease in queue.claim_many(3, lease_for=MINUTE)] == [0, 1, 2]
        assert queue.count() == Counts(ready=2, leased=3)

    @pytest.mark.parametrize(
        ("verb", "after"),
        [
            (lambda queue, lease: queue.ack(lease), Counts(ready=1)),
            (lambda queue, lease: queue.ack(lease, claim_for=MINUTE), Counts(leased=1)),
            (lambda queue, lease: queue.ack_many([lease]), Counts(ready=1)),
            (lambda queue, lease: queue.release(lease), Counts(ready=2)),
            (lambda queue, lease: queue.dead_letter(lease, reason="no"), Counts(ready=1, dead=1)),
            (lambda queue, lease: queue.extend(lease, lease_for=MINUTE), Counts(ready=1, leased=1)),
        ],
        ids=["ack", "ack and claim", "ack_many", "release", "dead_letter", "extend"],
    )
    def test_a_settle_does_not_lose_its_own_lease(
        self, queue: Backend, proxy: Proxy, verb: Callable[[Backend, Lease], object], after: Counts
    ) -> None:
        queue.push_many([Item(1), Item(2)])
        lease = claimed(queue)
        proxy.lose(2)

        answered = verb(queue, lease)

        assert (queue.count(), proxy.lost) == (after, 2)
        assert getattr(answered, "lost", (None,)) == (None,)

    def test_a_settle_that_was_refused_is_refused_again(self, queue: Backend, proxy: Proxy) -> None:
        queue.push(1)
        lease = claimed(queue)
        queue.ack(lease)
        proxy.lose(1)

        with pytest.raises(LeaseLost, match="task 1 is gone"):
            queue.ack(lease)

    def test_redrive_and_cancel_answer_as_the_first_time(self, queue: Backend, proxy: Proxy) -> None:
        queue.push(1)
        queue.dead_letter(claimed(queue), reason="no")
        proxy.lose(1)
        redriven = queue.redrive("1")
        proxy.lose(1)

        assert (redriven, queue.cancel("1"), queue.count()) == (True, True, Counts())

    def test_a_claim_that_waits_survives_the_loss_of_its_connection(self, queue: Backend, proxy: Proxy) -> None:
        leases: list[Lease | None] = []
        waiting = threading.Thread(
            target=lambda: leases.append(queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND)))
        )
        waiting.start()
        other = open_backend(proxy.url)
        for _ in range(3):
            proxy.cut()
            threading.Event().wait(0.05)
        other.push("hello")
        waiting.join(BOUND)
        other.close()

        assert [lease and lease.work for lease in leases] == ["hello"]

    def test_a_storm_of_cuts_loses_and_doubles_nothing(self, proxy: Proxy, file: Path) -> None:
        stop = threading.Event()

        def storm() -> None:
            for each in itertools.cycle((proxy.cut, proxy.lose_one)):
                if stop.wait(0.1):
                    return
                each()

        def work(number: int) -> None:
            queue = open_backend(proxy.url)
            for n in range(10):
                assert queue.push([number, n]).added
                lease = queue.claim(lease_for=MINUTE)
                if lease is not None:
                    done.append(lease.work)
                    queue.ack(lease)
            queue.close()

        done: list[Any] = []
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        cutter = threading.Thread(target=storm)
        for thread in (*threads, cutter):
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        stop.set()
        cutter.join(BOUND)
        behind = open_backend(file)
        left = [task.work for task in behind.tasks()]
        behind.close()

        assert sorted(done + left) == [[number, n] for number in range(3) for n in range(10)]
        assert left == []
        assert proxy.lost > 0


def test_own_work_pushed_by_another_client_of_the_server_is_warned_of(url: str) -> None:
    def handler(work: Any) -> None:
        with closing(open_backend(url)) as other, pytest.warns(OwnWork, match="pushed work that equals its own"):
            other.push(work)

    with closing(open_backend(url)) as queue:
        queue.push("own")
        assert [run.outcome for run in Worker(queue, handler).drain()] == ["done"]


class TestServerThatGoesAway:
    def test_a_port_where_nobody_answers_is_named_within_patience(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]

        with pytest.raises(BackendUnavailable, match=rf"http://127.0.0.1:{port} does not answer: Connection refused"):
            open_backend(f"http://127.0.0.1:{port}?patience=0.1")

    def test_a_half_open_connection_is_given_up_within_patience(self, proxy: Proxy) -> None:
        queue = open_backend(f"{proxy.url}?patience=1")
        proxy.swallow = True

        with pytest.raises(BackendUnavailable, match="nothing came in time"):
            queue.push(1)
        queue.close()

    def test_clients_go_on_after_a_restart_and_what_was_acknowledged_stands(self, tmp_path: Path) -> None:
        with served(tmp_path / "q.db") as url:
            queue = open_backend(url)
            queue.push(1)
            lease = claimed(queue)
        answers: list[object] = []
        acking = threading.Thread(target=lambda: answers.append(queue.ack(lease)))
        acking.start()
        with served(tmp_path / "q.db", port=int(url.rpartition(":")[2])):
            acking.join(BOUND)
            counts = queue.count()
        queue.close()

        assert (answers, counts) == ([None], Counts())

    def test_an_answer_that_was_lost_with_the_server_is_given_by_the_next_one(self, tmp_path: Path) -> None:
        """The push was made and its answer lost; the server that is asked again is another process's."""
        with served(tmp_path / "q.db") as url, between(url) as proxy:
            queue = open_backend(f"{proxy.url}?patience=30", dedupe="off")
            proxy.lose(1)
            port = int(url.rpartition(":")[2])
            pushed: list[Pushed] = []
            pushing = threading.Thread(target=lambda: pushed.append(queue.push(1)))
            proxy.lose(1_000_000)
            pushing.start()
            while proxy.lost < 2:
                threading.Event().wait(0.01)
        with served(tmp_path / "q.db", port=port), between(url) as second:
            queue._transport._host = second.url.removeprefix("http://")  # type: ignore[attr-defined]  # as DNS would
            pushing.join(BOUND)
            counts = queue.count()
            queue.close()

        assert (pushed, counts) == ([Pushed("1", True)], Counts(ready=1))


class TestClient:
    def test_closing_ends_a_claim_that_waits(self, url: str) -> None:
        queue = open_backend(url)
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))
            except QueueClosed as error:
                errors.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        threading.Event().wait(0.2)
        queue.close()
        waiting.join(BOUND)

        assert len(errors) == 1

    def test_a_killed_client_that_waited_takes_no_task_with_it(self, url: str) -> None:
        waiting = python(
            """
            import sys
            from datetime import timedelta
            from lowq import open_backend
            queue = open_backend(sys.argv[1])
            print("here", flush=True)
            queue.claim(lease_for=timedelta(hours=1), wait=timedelta(minutes=1))
            """,
            url,
        )
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "here\n"
        threading.Event().wait(0.1)
        waiting.send_signal(signal.SIGKILL)
        waiting.communicate(timeout=BOUND)
        queue = open_backend(url)
        queue.push(1)

        lease = queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))

        assert lease is not None
        assert lease.task.attempts == 1
        queue.close()

    def test_parent_and_child_of_a_fork_use_it_both(self, url: str) -> None:
        queue = open_backend(url)
        queue.push("parent")

        pid = os.fork()
        if pid == 0:
            pushed = [queue.push(["child", n]).added for n in range(20)]
            os._exit(0 if all(pushed) else 1)
        for n in range(20):
            assert queue.push(["parent", n]).added

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert queue.count() == Counts(ready=41)
        queue.close()

    def test_no_connection_crosses_a_fork(self, url: str) -> None:
        queue = open_backend(url)
        queue.push(1)
        reading, writing = os.pipe()

        pid = os.fork()
        if pid == 0:
            found = [
                each for each in os.listdir("/proc/self/fd" if os.path.isdir("/proc") else "/dev/fd")
                if each.isdigit() and _is_connection(int(each), url)
            ]  # fmt: skip
            os.write(writing, str(len(found)).encode())
            os._exit(0)
        os.waitpid(pid, 0)

        assert os.read(reading, 10) == b"0"
        os.close(reading)
        os.close(writing)
        queue.close()

    def test_threads_share_it(self, url: str) -> None:
        queue = open_backend(url)
        threads = [
            threading.Thread(target=lambda number=n: [queue.push([number, k]) for k in range(10)]) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

        assert queue.count() == Counts(ready=80)
        queue.close()

    def test_a_token_is_asked_for_and_never_shown(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with served(file, tokens=["the-token-1"], read_only_tokens=["looking-1"]) as url:
            with pytest.raises(InvalidLocation, match="set LOWQ_TOKEN"):
                open_backend(url)
            with pytest.raises(InvalidLocation) as refused:
                open_backend(url, token="a-wrong-token")
            named = open_backend(url, token="the-token-1")
            monkeypatch.setenv("LOWQ_TOKEN", "the-token-1")
            from_environment = open_backend(url)
            from_environment.push(1)
            looking = open_backend(f"{url}?token=looking-1", create=False)
            with pytest.raises(NotAllowed, match="may only look"):
                looking.push(2)

            assert "a-wrong-token" not in str(refused.value)
            assert looking.count() == named.count() == Counts(ready=1)
            assert "looking-1" not in str(locate(f"{url}?token=looking-1"))
            for each in (named, from_environment, looking):
                each.close()

    @pytest.mark.parametrize("size", [3_000, 16_000_000], ids=["read by the server", "given up as it comes"])
    def test_a_work_that_is_larger_than_the_server_takes_is_refused(self, file: Path, size: int) -> None:
        with served(file, max_body=2048) as url:
            queue = open_backend(url)
            with pytest.raises(InvalidWork, match="MAX_BODY"):
                queue.push("x" * size)
            assert queue.push("y").added
            queue.close()

    @pytest.mark.parametrize(
        "location",
        [
            "http://",
            "http://:5000",
            "http://host:0",
            "http://host:x",
            "http://host:70000",
            "https://a b",
            "http://u:p@h",
        ],
    )
    def test_what_is_no_address_is_refused_at_once(self, location: str) -> None:
        with pytest.raises(InvalidLocation, match="http://host:5000"):
            open_backend(location)

    @pytest.mark.parametrize("path", ["/nowhere", "/static"])
    def test_what_is_no_server_of_ours_is_named(self, url: str, path: str) -> None:
        with pytest.raises(InvalidLocation):
            open_backend(f"{url}{path}?patience=0.1")

    def test_an_unknown_name_is_refused_where_it_is_not_to_be_made(self, url: str) -> None:
        with pytest.raises(InvalidLocation, match="'mails'"):
            open_backend(url, name="mails", create=False)

    def test_a_clock_that_is_not_the_servers_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidLocation, match="keeps time by itself"):
            open_backend(url, clock=FakeClock())

    def test_a_queue_in_memory_is_shared_through_its_server(self) -> None:
        with served("memory://shared by http") as url:
            queue = open_backend(url)
            other = python(
                "import sys, lowq; print(lowq.open_backend(sys.argv[1]).push('from another process').added)", url
            )

            assert answer(other) == "True"
            assert "processes" in queue.promises
            assert claimed(queue).work == "from another process"
            queue.close()

    def test_the_names_of_the_location_are_told(self, url: str) -> None:
        queue = open_backend(url, name="mails")

        assert queue.names() == ["mails", "the server's"]  # type: ignore[attr-defined]
        queue.close()


class TestUsers:
    def test_a_worker_runs_what_was_pushed(self, url: str) -> None:
        queue = open_backend(url)
        queue.push_many([Item(n) for n in range(5)])
        ran: list[Any] = []

        Worker(queue, ran.append).drain()

        assert (ran, queue.count()) == ([0, 1, 2, 3, 4], Counts())
        queue.close()

    def test_an_application_pushes_and_its_background_worker_runs(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

        class Writing(TaskQueue):
            path = url
            linger = timedelta(0)

            def process(self, work: Any) -> None:
                (tmp_path / work).write_text("done")

        queue = Writing(TaskQueue.SILENT)
        queue.push("a", "b")
        started = queue.start()
        left = threading.Event()
        for _ in range(600):
            if (tmp_path / "b").exists() and queue.active_pid is None:
                break
            left.wait(0.1)

        assert started
        assert [(tmp_path / each).read_text() for each in "ab"] == ["done", "done"]
        assert (tmp_path / "state" / "lowq").stat().st_mode & 0o077 == 0
        queue.close()

    def test_the_location_is_written_as_it_is_read(self) -> None:
        assert str(locate("https://jobs.example.org:8000/queue?patience=3")) == str(
            Location("https", "jobs.example.org:8000/queue", (("patience", "3"),))
        )


def _is_connection(descriptor: int, url: str) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            return bool(found.getpeername()[1] == int(url.rpartition(":")[2]))
    except OSError:
        return False
