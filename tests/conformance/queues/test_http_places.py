"""The servers of the suite's HTTP queues: a place has one, whoever asks and whatever became of those who asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flask", reason="the web needs: pip install 'lowq[web]'")
pytest.importorskip("waitress", reason="the web needs: pip install 'lowq[web]'")

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues import http_places

BOUND = 60


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes with servers are this test's own, and gone afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv(http_places._VARIABLE, "")
    started = len(http_places._started)
    yield
    for process in http_places._started[started:]:
        process.communicate(timeout=BOUND)
    del http_places._started[started:]


def test_a_place_is_served_at_one_url_or_at_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    for each in (place, other):
        each.mkdir()
    url, state = http_places.url_of(place), os.environ["XDG_STATE_HOME"]

    assert (http_places.url_of(place), os.environ["XDG_STATE_HOME"]) == (url, state)
    assert http_places.url_of(other) != url
    monkeypatch.setenv(http_places._VARIABLE, "")  # as in a process that was started before there were servers
    with pytest.raises(BrokenHarness, match="served this place"):
        http_places.url_of(place)


def test_a_process_that_is_stopped_before_it_has_asked_holds_up_nobody(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.mkdir()
    http_places.url_of(first)
    port = int(os.environ[http_places._VARIABLE].partition(" ")[0])

    with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as stopped:
        stopped.sendall(b'"/half a pla')

        assert http_places.url_of(second).startswith("http://127.0.0.1:")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "queue").write_text("no folder")

    with pytest.raises(BrokenHarness, match=r"does not start: .*Exists"):
        http_places.url_of(place)
