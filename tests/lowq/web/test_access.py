"""Who is let in: each route without, with a wrong and with a read-only token; hosts, other sites, limits."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from serving import Browser, MakeApp
from werkzeug.test import TestResponse

from lowq import Backend, Counts

WRITE, READ = "write-token-1234", "read-token-1234"
TOKENS: dict[str, Any] = {"tokens": ["another-token", WRITE], "read_only_tokens": [READ]}

LOOKING = {"GET", "HEAD", "OPTIONS"}
OPEN = {"/static/<path:filename>", "/login"}
"""What makes up the page that asks for a token."""


def routes(app: Flask) -> list[tuple[str, str]]:
    """Every method of every route of the application."""
    return sorted(
        (method, rule.rule.replace("<path:filename>", "lowq.css"))
        for rule in app.url_map.iter_rules()
        if rule.rule not in OPEN
        for method in (rule.methods or ())
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'worker:{token}'.encode()).decode()}"}


@pytest.fixture
def guarded(make_app: MakeApp, queue: Backend) -> Flask:
    queue.push({"secret": "squirrel"})
    return make_app(**TOKENS)


def said_no(answer: TestResponse, status: int) -> bool:
    return answer.status_code == status and b"squirrel" not in answer.data and b"Traceback" not in answer.data


class TestTokens:
    @pytest.mark.parametrize(
        "headers",
        [
            {}, bearer(""), bearer("wrong"), bearer(WRITE[:-1]), bearer(WRITE + "1"), bearer(WRITE.upper()),
            basic("wrong"), {"Authorization": "Basic !!"}, {"Authorization": "Basic"}, {"Authorization": WRITE},
            {"Authorization": "Bearer é"}, {"Cookie": f"lowq={WRITE}"}, {"Cookie": "lowq=e30.abc.def"},
            {"X-Forwarded-For": "127.0.0.1"},
        ],
    )  # fmt: skip
    def test_no_route_answers_without_a_right_token(
        self, guarded: Flask, queue: Backend, headers: dict[str, str]
    ) -> None:
        client = guarded.test_client()

        let_in = [
            f"{method} {path}: {answer.status_code}"
            for method, path in [*routes(guarded), ("GET", "/api/v1/nowhere"), ("POST", "/nowhere")]
            for answer in [client.open(path, method=method, headers=headers, json={})]
            if not said_no(answer, 401)
        ]

        assert len(routes(guarded)) > 40
        assert let_in == []
        assert queue.count() == Counts(ready=1)

    def test_a_token_that_may_only_look_changes_nothing_by_any_route(self, guarded: Flask, queue: Backend) -> None:
        client = guarded.test_client()

        answers = {
            (method, path): client.open(path, method=method, headers=bearer(READ), json={"id": "1", "work": 2})
            for method, path in routes(guarded)
        }

        changing = {each: answer.status_code for each, answer in answers.items() if each[0] not in LOOKING}
        assert changing.pop(("POST", "/logout")) == 415  # it is for a form, and about nobody else
        assert changing.pop(("POST", "/api/v1/open")) == 400  # it says what the queue is, and makes none
        assert {each for each, status in changing.items() if status != 403} == set()
        assert answers["GET", "/api/next"].status_code == answers["HEAD", "/api/next"].status_code == 403
        assert answers["GET", "/api/v1/count"].json == {"ready": 1, "scheduled": 0, "leased": 0, "dead": 0}
        assert queue.count() == Counts(ready=1)
        assert client.post("/api/v1/open?name=new", json={}, headers=bearer(READ)).status_code == 404
        assert client.get("/api/v1/count?name=new", headers=bearer(READ)).status_code == 404

    @pytest.mark.parametrize("headers", [bearer(WRITE), bearer("another-token"), basic(WRITE)])
    def test_a_right_token_may_do_everything(self, guarded: Flask, headers: dict[str, str]) -> None:
        client = guarded.test_client()

        assert client.post("/api/v1/push", json={"work": 2}, headers=headers).json == {"id": "2", "added": True}
        assert client.get("/api/next", headers=headers).json["task"]["payload"] == {"secret": "squirrel"}  # type: ignore[index]

    def test_a_401_names_the_way_in(self, guarded: Flask) -> None:
        answer = guarded.test_client().get("/api/v1/count")

        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.mimetype == "application/problem+json"

    def test_a_person_logs_in_with_a_token_and_out_again(self, guarded: Flask, queue: Backend) -> None:
        browser = Browser(guarded.test_client())
        before = browser.get("/tasks")

        page = browser.send("/login", page="/login", token=WRITE).text
        cookie = browser.client.get_cookie("lowq")
        browser.send("/new", name="default", payload="2", priority="0", exectime="")
        browser.send("/logout")

        assert "squirrel" in page
        assert cookie is not None
        assert WRITE not in cookie.value
        assert (cookie.http_only, cookie.same_site) == (True, "Lax")
        assert queue.count() == Counts(ready=2)
        assert said_no(before, 401)
        assert said_no(browser.get("/tasks"), 401)

    def test_a_person_with_a_token_that_may_only_look_is_shown_no_buttons(
        self, guarded: Flask, queue: Backend
    ) -> None:
        browser = Browser(guarded.test_client())

        browser.send("/login", page="/login", token=READ)

        page = browser.get("/tasks").text
        assert "squirrel" in page
        assert "Delete" not in page
        assert "Add the task" not in page
        assert said_no(browser.send("/delete", name="default", id="1"), 403)
        assert queue.count() == Counts(ready=1)

    @pytest.mark.parametrize("token", ["wrong", "", "\udcff", "é"])
    def test_a_wrong_token_logs_nobody_in(self, guarded: Flask, token: str) -> None:
        browser = Browser(guarded.test_client())

        answer = browser.client.post(
            "/login", data={"csrf": browser.mark("/login"), "token": token.encode("utf-8", "replace")}
        )

        assert answer.status_code == 401
        assert said_no(browser.get("/tasks"), 401)

    def test_a_cookie_opens_no_program_interface(self, guarded: Flask) -> None:
        browser = Browser(guarded.test_client())
        browser.send("/login", page="/login", token=WRITE)

        assert said_no(browser.get("/api/v1/tasks"), 401)

    def test_a_token_that_was_taken_out_of_the_settings_logs_out(self, make_app: MakeApp) -> None:
        browser = Browser(make_app(**TOKENS, secret_key="same").test_client())
        browser.send("/login", page="/login", token=WRITE)
        cookie = browser.client.get_cookie("lowq")
        assert cookie is not None

        after = make_app(tokens=["another-token"], secret_key="same").test_client()
        after.set_cookie("lowq", cookie.value)

        assert said_no(after.get("/tasks"), 401)

    def test_a_read_only_server_changes_nothing_for_anybody(self, make_app: MakeApp, queue: Backend) -> None:
        queue.push(1)
        client = make_app(read_only=True).test_client()

        assert client.post("/api/v1/push", json={"work": 2}).status_code == 403
        assert client.get("/api/next").status_code == 403
        assert client.get("/api/v1/count").status_code == 200
        assert "Add the task" not in client.get("/").text


class TestWithoutTokens:
    @pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "localhost"])
    def test_other_machines_are_not_answered(self, client: FlaskClient, address: str) -> None:
        answer = client.get("/", environ_base={"REMOTE_ADDR": address})

        assert said_no(answer, 403)
        assert "TOKENS" in answer.text

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    def test_a_proxy_is_not_taken_for_this_machine(self, client: FlaskClient, header: str) -> None:
        assert said_no(client.get("/", headers={header: "127.0.0.1"}), 403)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", ""])
    def test_this_machine_is(self, client: FlaskClient, address: str) -> None:
        assert client.get("/", environ_base={"REMOTE_ADDR": address}).status_code == 200

    def test_no_auth_lets_everybody_in(self, make_app: MakeApp) -> None:
        client = make_app(no_auth=True).test_client()

        assert client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200


class TestOtherSites:
    @pytest.mark.parametrize(
        "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@b", "[::1"]
    )
    def test_a_name_that_is_not_known_is_refused(self, client: FlaskClient, host: str) -> None:
        answer = client.get("/", headers={"Host": host})

        assert answer.status_code in (400, 421)

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:5000", "127.0.0.1:80", "[::1]:5000", "192.0.2.1", "jobs.example.org:8000"]
    )
    def test_addresses_and_known_names_are_served(self, make_app: MakeApp, host: str) -> None:
        client = make_app(hosts=["jobs.example.org"]).test_client()

        assert client.get("/", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
            {"Origin": "null"}, {"Origin": "http://localhost:9999"}, {"Origin": "http://localhost.evil.example"},
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/api/next"), ("POST", "/api/v1/push"), ("POST", "/new"), ("POST", "/api/complete")],
    )
    def test_a_page_of_another_site_changes_nothing(
        self, client: FlaskClient, queue: Backend, headers: dict[str, str], method: str, path: str
    ) -> None:
        queue.push(1)

        answer = client.open(path, method=method, headers=headers, json={"work": 2})

        assert answer.status_code == 403
        assert queue.count() == Counts(ready=1)

    def test_a_body_of_another_kind_than_json_is_refused(self, client: FlaskClient, queue: Backend) -> None:
        answer = client.post("/api/v1/push", data='{"work": 1}', content_type="text/plain")

        assert (answer.status_code, queue.count()) == (415, Counts())


class TestEveryAnswer:
    @pytest.mark.parametrize(
        "path", ["/", "/tasks", "/nowhere", "/api/v1/count", "/api/v1/nowhere", "/static/lowq.css"]
    )
    def test_carries_the_headers_that_keep_a_browser_safe(self, client: FlaskClient, path: str) -> None:
        with client.get(path) as answer:
            headers = answer.headers

        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Server" not in headers

    def test_pages_have_no_inline_script_or_style(self, client: FlaskClient, queue: Backend) -> None:
        queue.push(1)

        for path in ("/", "/tasks", "/task?id=1", "/nowhere"):
            page = client.get(path).text
            assert "<script>" not in page
            assert " style=" not in page
            assert " onclick" not in page

    @pytest.mark.parametrize(
        ("path", "kind"), [("/api/v1/push", "application/json"), ("/new", "multipart/form-data")]
    )
    def test_a_body_that_is_too_long_is_refused(
        self, make_app: MakeApp, queue: Backend, path: str, kind: str
    ) -> None:
        client = make_app(max_body=2048).test_client()

        answer = client.post(path, data=b"x" * 4096, content_type=kind)

        assert answer.status_code == 413
        assert "MAX_BODY" in answer.text or answer.is_json or "problem" in str(answer.mimetype)
        assert queue.count() == Counts()
