"""A served queue for the tests of the web."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lowq import Backend, open_backend

pytest.importorskip("flask", reason="the web needs: pip install 'lowq[web]'")
pytest.importorskip("waitress", reason="the web needs: pip install 'lowq[web]'")

from backends import served
from flask import Flask
from flask.testing import FlaskClient
from serving import Browser, MakeApp, Serve

from lowq.web import create_app


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def queue(location: Path) -> Iterator[Backend]:
    backend = open_backend(location)
    yield backend
    backend.close()


@pytest.fixture
def make_app(location: Path) -> Iterator[MakeApp]:
    made: list[Flask] = []

    def make(**settings: Any) -> Flask:
        made.append(create_app(**{"location": str(location), **settings}))
        return made[-1]

    yield make
    for app in made:
        app.extensions["lowq"].close()


@pytest.fixture
def browser(queue: Backend, make_app: MakeApp) -> Browser:
    return Browser(make_app().test_client())


@pytest.fixture
def client(queue: Backend, make_app: MakeApp) -> FlaskClient:
    return make_app().test_client()


@pytest.fixture
def serve(queue: Backend, location: Path) -> Iterator[Serve]:
    """Answers with the URL of a server that runs beside the test."""
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(served(location, **{"name": queue.name, **settings}))
