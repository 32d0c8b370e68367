"""`lowq metrics`, and `/metrics` of `lowq serve`: what is told of which queues, and to whom."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends import served
from prometheus_client.parser import text_string_to_metric_families

from lowq import open_backend
from lowq.cli import main


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    """A file with two queues."""
    path = str(tmp_path / "jobs.db")
    for name, count in (("default", 2), ("mail", 1)):
        with closing(open_backend(path, name=name)) as queue:
            for number in range(count):
                queue.push(number)
    return path


def ready(text: str) -> dict[str, float]:
    """How much is ready in each queue, as Prometheus reads it."""
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["lowq_tasks"].samples
    return {each.labels["queue"]: each.value for each in samples if each.labels["state"] == "ready"}


def test_all_queues_of_a_location_are_told(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", jobs]) == 0

    assert ready(capsys.readouterr().out) == {"default": 2, "mail": 1}


def test_or_those_that_are_named(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", jobs, "--name", "mail"]) == 0

    assert ready(capsys.readouterr().out) == {"mail": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{jobs}", "--name", "none"], 2, "there is no queue 'none' here"),
        (["{jobs}x"], 2, "there is no queue here"),
        (["memory://"], 2, "lives in the process"),
        (["http://127.0.0.1:9?patience=0"], 3, "127.0.0.1:9"),
    ],
)
def test_what_is_no_queue_is_said_and_nothing_is_told(
    jobs: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert main(["metrics", *(each.replace("{jobs}", jobs) for each in arguments)]) == code

    told = capsys.readouterr()
    assert (told.out, says in told.err) == ("", True)


def asked(url: str, token: str = "") -> tuple[int, str, str]:
    """The status, the type and the text of the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", error.read().decode()


def test_a_server_tells_the_same(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with served(jobs, name="default") as url:
        status, kind, text = asked(f"{url}/metrics")
        assert main(["metrics", url]) == 0

    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert ready(text) == ready(capsys.readouterr().out) == {"default": 2, "mail": 1}


def test_a_server_with_tokens_tells_those_who_have_one(jobs: str) -> None:
    tokens: dict[str, Any] = {"tokens": ["write-token-1234"], "read_only_tokens": ["read-token-1234"]}
    with served(jobs, name="default", **tokens) as url:
        answers = [asked(f"{url}/metrics", token) for token in ("", "wrong-token-1234", "read-token-1234")]

    assert [status for status, *_ in answers] == [401, 401, 200]
    assert "send the header Authorization" in answers[0][2]
    assert [("lowq_tasks" in text) for *_, text in answers] == [False, False, True]
