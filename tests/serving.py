"""Helpers for the tests of the web: a client that knows its forms, and a task that was set aside."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from lowq import Backend

MINUTE = timedelta(minutes=1)

MakeApp = Callable[..., Flask]
Serve = Callable[..., str]


class Browser:
    """Looks at pages and sends their forms, as a browser without scripts does."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **options: Any) -> TestResponse:
        """The page."""
        return self.client.get(path, **options)

    def mark(self, page: str = "/") -> str:
        """What the forms of that page carry."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(page).text)
        assert found is not None
        return found[1]

    def send(self, path: str, *, page: str = "/", **fields: str) -> TestResponse:
        """The answer to a form, as that page has it."""
        return self.client.post(path, data={"csrf": self.mark(page), **fields}, follow_redirects=True)


def dead_task(queue: Backend, work: object, reason: str) -> str:
    """A task that was set aside; its id."""
    queue.push(work, priority=1_000_000)
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    queue.dead_letter(lease, reason=reason)
    return lease.id
