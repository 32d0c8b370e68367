"""`lowq serve`, as a shell runs it, and the server under load of claims that wait."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import Serve

from lowq import Backend, Counts
from lowq.web.server import _Channel

BOUND = 60


@contextmanager
def served(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`lowq serve` with these arguments at a free port: its URL and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lowq", "serve", *arguments, "--port", "0"],
        cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://\S+)/ shows ", line)
        assert found is not None, line + process.communicate(timeout=BOUND)[1]
        yield found[1], process
    finally:
        process.kill()
        process.communicate(timeout=BOUND)


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer, over a connection of its own."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
    try:
        text = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **headers}
        connection.request(method, path, text, sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def refused(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lowq", "serve", *arguments, "--port", "0"],
        cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


class TestCommand:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    def test_it_serves_until_a_signal(self, tmp_path: Path, number: int, code: int) -> None:
        with served("jobs.db", cwd=tmp_path) as (url, process):
            pushed = ask(url, "POST", "/api/v1/push", {"work": 1})
            process.send_signal(number)

            assert (pushed, process.wait(BOUND)) == ((200, {"id": "1", "added": True}), code)
            assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]

    def test_the_settings_file_says_what_to_serve(self, tmp_path: Path) -> None:
        (tmp_path / "settings.py").write_text(f"LOCATION = {str(tmp_path / 'a.db')!r}\nTOKENS = ['a-token']\n")

        with served(cwd=tmp_path, env={"LOWQ_SETTINGS": str(tmp_path / "settings.py")}) as (url, _):
            assert ask(url, "GET", "/api/v1/count")[0] == 401
            assert ask(url, "GET", "/api/v1/count", Authorization="Bearer a-token")[0] == 200

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
    def test_an_address_that_others_reach_needs_tokens(self, tmp_path: Path, host: str) -> None:
        code, says = refused("jobs.db", "--host", host, cwd=tmp_path)

        assert code == 2
        assert "TOKENS" in says
        assert "--no-auth" in says

    def test_or_an_explicit_no_auth(self, tmp_path: Path) -> None:
        with served("jobs.db", "--host", "0.0.0.0", "--no-auth", cwd=tmp_path) as (url, _):
            assert ask(url.replace("0.0.0.0", "127.0.0.1"), "GET", "/api/v1/count")[0] == 200

    @pytest.mark.parametrize(
        ("arguments", "settings", "says"),
        [
            ([], None, "LOCATION: no queue is named"),
            (["nowhere/jobs.db"], None, "does not exist"),
            (["jobs.db", "--name", ""], None, "name"),
            ([], "LOCATION = 'a.db'\nTOKEN = 'x'\n", "did you mean TOKENS?"),
            (["foo://x"], None, "unknown kind of queue"),
            (["jobs.db", "--host", "no such host"], None, "no such host"),
            (["jobs.db", "--host", "no..such.host"], None, "no..such.host"),
            (["jobs.db", "--host", "no..such.host", "--no-auth"], None, "no..such.host"),
        ],
    )
    def test_what_is_wrong_is_said_at_the_start(
        self, tmp_path: Path, arguments: list[str], settings: str | None, says: str
    ) -> None:
        env = {}
        if settings is not None:
            (tmp_path / "s.py").write_text(settings)
            env["LOWQ_SETTINGS"] = str(tmp_path / "s.py")

        code, error = refused(*arguments, cwd=tmp_path, env=env)

        assert code == 2
        assert says in error
        assert "Traceback" not in error

    def test_a_port_that_is_taken_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            done = subprocess.run(
                [sys.executable, "-m", "lowq", "serve", "jobs.db", "--port", port],
                cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=False,
            )  # fmt: skip

        assert done.returncode == 3
        assert port in done.stderr


HEAD = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /counts HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\n\r\n", b"200"),
        (b"POST /api/v1/claim HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", b"200"),
        (b"GET http://[::1/counts HTTP/1.1\r\n" + HEAD + b"\r\n", b"400"),
        (b"GET http://[v1.x/ HTTP/1.0\r\n\r\n", b"400"),
    ],
    ids=["asks whether to send no body", "asks whether to send an empty one", "half an address", "and another"],
)
def test_a_request_that_waitress_alone_leaves_open_is_answered(
    serve: Serve, caplog: pytest.LogCaptureFixture, sent: bytes, status: bytes
) -> None:
    at = urlsplit(serve())
    with socket.create_connection((at.hostname, at.port), timeout=BOUND) as client:
        client.sendall(sent)
        answered = b"".join(iter(lambda: client.recv(65536), b""))

    assert answered.split(b" ")[1:2] == [status]
    assert not caplog.records


def test_a_client_that_goes_before_it_is_told_what_was_wrong_is_no_error_of_the_server(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve()
    write_soon = _Channel.write_soon

    def write_too_late(channel: _Channel, data: bytes) -> int:
        channel.connected = False
        return int(write_soon(channel, data))

    monkeypatch.setattr(_Channel, "write_soon", write_too_late)
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=BOUND) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n")
        said = client.recv(100)
    monkeypatch.undo()

    assert said == b""
    assert ask(url, "GET", "/api/v1/count")[0] == 200
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    ("path", "headers", "status", "told"),
    [
        ("/api/v1/push", "Content-Length: 999999999", 413, "raise MAX_BODY"),
        ("/new", "Content-Length: 999999999", 413, "raise MAX_BODY"),
        ("/api/v1/push", f"X: {'x' * 70_000}", 431, "Send less in the headers"),
        ("/api/v1/push", "Content-Length: ten", 400, "ontent-Length"),
        ("/api/v1/push", "Transfer-Encoding: gzip", 501, "Transfer-Encoding"),
    ],
)
def test_what_never_comes_to_the_application_is_refused_in_its_words(
    serve: Serve, path: str, headers: str, status: int, told: str
) -> None:
    address = urlsplit(serve())
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=BOUND) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
        answer = HTTPResponse(connection)
        answer.begin()
        text = answer.read().decode()

    assert (answer.status, told in text, "waitress" in text) == (status, True, False)
    if path.startswith("/api/") and status != 431:  # whose headers were not read, so that nobody knows the path
        problem = json.loads(text)
        assert (answer.getheader("Content-Type"), problem["status"]) == ("application/problem+json", status)


class TestWaitingClaims:
    def test_a_claim_waits_for_a_push(self, serve: Serve) -> None:
        url = serve()
        answers: list[tuple[int, Any]] = []
        waiting = threading.Thread(
            target=lambda: answers.append(ask(url, "POST", "/api/v1/claim?wait_seconds=30", {"lease_seconds": 60}))
        )
        waiting.start()
        ask(url, "POST", "/api/v1/push", {"work": "hello"})
        waiting.join(BOUND)

        assert [(status, body["lease"]["task"]["work"]) for status, body in answers] == [(200, "hello")]

    def test_a_claim_that_waited_in_vain_is_answered(self, serve: Serve) -> None:
        assert ask(serve(), "POST", "/api/v1/claim?wait_seconds=0.05", {"lease_seconds": 60}) == (
            200, {"lease": None, "again_seconds": None},
        )  # fmt: skip

    def test_many_waiting_claims_do_not_stop_a_push_and_are_served_in_the_order_they_came(
        self, serve: Serve, queue: Backend
    ) -> None:
        url = serve(threads=2)
        waiting: list[HTTPConnection] = []
        for _ in range(60):
            connection = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
            connection.request(
                "POST",
                "/api/v1/claim?wait_seconds=30",
                '{"lease_seconds": 600}',
                {"Content-Type": "application/json"},
            )
            waiting.append(connection)

        counts = [ask(url, "GET", "/api/v1/count")[0] for _ in range(5)]
        for number in range(60):
            assert ask(url, "POST", "/api/v1/push", {"work": number})[0] == 200
        works = [json.loads(each.getresponse().read())["lease"]["task"]["work"] for each in waiting]
        for each in waiting:
            each.close()

        assert counts == [200] * 5
        assert sorted(works) == list(range(60))
        assert queue.count() == Counts(leased=60)

    def test_a_thousand_waiting_claims_do_not_stop_a_push(self, serve: Serve, queue: Backend) -> None:
        url = serve(threads=2)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3_000:  # which the server has asked for
            pytest.skip("so many files may not be open here")
        request = (
            b"POST /api/v1/claim?wait_seconds=30&name=idle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
            b"Content-Type: application/json\r\n\r\n{}"
        )
        with ExitStack() as waiting:
            for _ in range(1_000):
                client = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=BOUND)
                waiting.enter_context(client)
                client.sendall(request)
            pushed = [ask(url, "POST", "/api/v1/push", {"work": number})[0] for number in range(5)]

        assert pushed == [200] * 5
        assert queue.count() == Counts(ready=5)

    def test_claims_of_one_queue_do_not_wait_for_those_of_another(self, serve: Serve) -> None:
        url = serve()
        idle = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
        idle.request("POST", "/api/v1/claim?wait_seconds=30&name=idle", "{}", {"Content-Type": "application/json"})
        ask(url, "POST", "/api/v1/push?name=busy", {"work": 1})

        status, body = ask(url, "POST", "/api/v1/claim?wait_seconds=30&name=busy", {})
        idle.close()

        assert (status, body["lease"]["task"]["work"]) == (200, 1)

    def test_the_place_in_line_of_a_client_that_went_away_is_free(self, serve: Serve) -> None:
        url = serve()
        for _ in range(3):
            gone = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
            gone.sendall(
                b"POST /api/v1/claim?wait_seconds=30 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Content-Type: application/json\r\n\r\n{}"
            )
            gone.close()
        threading.Event().wait(1.2)  # the server looks twice a second whether they are still there
        ask(url, "POST", "/api/v1/push", {"work": 1})

        status, body = ask(url, "POST", "/api/v1/claim?wait_seconds=30", {})

        assert (status, body["lease"]["task"]["work"]) == (200, 1)

    def test_a_request_that_comes_again_while_the_first_waits_gets_the_same_lease(self, serve: Serve) -> None:
        url = serve()
        path, key = "/api/v1/claim?wait_seconds=30", {"Idempotency-Key": "one"}
        lost = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
        lost.request("POST", path, "{}", {"Content-Type": "application/json", **key})
        answers: list[Any] = []
        again = threading.Thread(target=lambda: answers.append(ask(url, "POST", path, {}, **key)))
        again.start()
        ask(url, "POST", "/api/v1/push", {"work": "a"})
        ask(url, "POST", "/api/v1/push", {"work": "b"})
        first = json.loads(lost.getresponse().read())
        lost.close()
        again.join(BOUND)

        assert answers == [(200, first)]

    @pytest.mark.parametrize("query", ["wait_seconds=soon", "wait_seconds=", "wait_seconds=1&wait_seconds=2",
                                       "wait_seconds=nan", "wait_seconds=-1", "wait_seconds=1&name=%00", "wait=3",
                                       "wait_seconds=inf"])  # fmt: skip
    def test_a_wrong_wait_is_refused(self, serve: Serve, query: str) -> None:
        status, body = ask(serve(), "POST", f"/api/v1/claim?{query}", {})

        assert status == 400
        assert body["type"].startswith("urn:lowq:error:")

    def test_a_client_may_not_set_its_own_place(self, serve: Serve) -> None:
        answer = ask(serve(), "POST", "/api/v1/claim", {}, **{"Lowq-Left": "nonsense"})

        assert answer == (200, {"lease": None, "again_seconds": None})
