"""`POLLS`: how many claims wait on a server that gives each its thread, as `flask run` does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from serving import MakeApp
from werkzeug.serving import make_server

from lowq import Backend
from lowq.web.settings import Settings

BOUND = 60
DOCS = Path(__file__).parents[3] / "docs" / "web.md"


@contextmanager
def threaded(app: Flask) -> Iterator[str]:
    """The URL of a server with a thread for each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(BOUND)
        server.server_close()


def asking(url: str, wait: str) -> HTTPConnection:
    """A claim that was sent, and is not answered yet."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
    connection.request("POST", f"/api/v1/claim?wait_seconds={wait}", "{}", {"Content-Type": "application/json"})
    return connection


def answer(connection: HTTPConnection) -> Any:
    with closing(connection):
        return json.loads(connection.getresponse().read())


def claim_in_the_end(url: str) -> Any:
    """The work of a claim that is asked for again as long as others take the room for waiting."""
    while (told := answer(asking(url, "30")))["lease"] is None:
        assert told["again_seconds"] is not None, "nothing came within 30 s"
    return told["lease"]["task"]["work"]


def test_so_many_claims_wait_and_further_ones_are_told_to_ask_again(make_app: MakeApp, queue: Backend) -> None:
    with threaded(make_app(name=queue.name, polls=2)) as url, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(claim_in_the_end, url) for _ in range(2)]
        for _ in range(2_000):  # until both wait
            if (told := answer(asking(url, "0.001")))["again_seconds"] is not None:
                break
        queue.push(1)
        queue.push(2)
        works = [each.result(BOUND) for each in waiting]
        after = answer(asking(url, "0.001"))

    assert told == {"lease": None, "again_seconds": 0.5}
    assert sorted(works) == [1, 2]
    assert after == {"lease": None, "again_seconds": None}  # there is room again


@pytest.mark.parametrize(("polls", "again"), [(0, 0.5), (1, None)])
def test_where_none_may_wait_each_is_told_so_at_once_and_gets_what_is_due(
    make_app: MakeApp, queue: Backend, polls: int, again: float | None
) -> None:
    client = make_app(name=queue.name, polls=polls).test_client()

    empty = client.post("/api/v1/claim?wait_seconds=0.001", json={}).json
    queue.push(1)
    found = client.post("/api/v1/claim?wait_seconds=0.001", json={}).json

    assert empty == {"lease": None, "again_seconds": again}
    assert found is not None
    assert found["lease"]["task"]["work"] == 1


def test_the_page_says_how_many_they_are_where_nothing_is_set() -> None:
    (said,) = re.findall(r"`POLLS` \((\d+)\)", DOCS.read_text(encoding="utf-8"))

    assert int(said) == Settings("q.db").polls
