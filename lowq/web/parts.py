"""What every view finds: the settings, the queues, the kept answers, and whether the sender may change anything."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import TYPE_CHECKING, cast

from flask import current_app, g, request

from lowq.clock import SystemClock

if TYPE_CHECKING:
    from datetime import datetime

    from lowq.web.access import Access
    from lowq.web.queues import Queues
    from lowq.web.replies import Replies
    from lowq.web.settings import Settings


class Parts:
    """The parts of one application."""

    def __init__(self, settings: Settings, queues: Queues, replies: Replies, access: Access) -> None:
        self.settings = settings
        self.queues = queues
        self.replies = replies
        self.access = access
        self.in_lines = False
        """Whether the server lets waiting claims stand in line; else each takes a thread, and few may."""
        self.polls = BoundedSemaphore(settings.polls) if settings.polls else None

    def now(self) -> datetime:
        """This instant, by the clock of the queues."""
        return (self.settings.clock or SystemClock()).now()

    def close(self) -> None:
        """Every queue and file is let go."""
        self.queues.close()
        self.replies.close()


def parts() -> Parts:
    """The parts of the application that answers this request."""
    return cast(Parts, current_app.extensions["lowq"])


def is_for_programs(path: str | None = None) -> bool:
    """Whether a program asks at that path (None: of this request): the interface, and what Prometheus reads."""
    path = request.path if path is None else path
    return path.startswith("/api/") or path == "/metrics"


def may_write() -> bool:
    """Whether the sender of this request may change the queue."""
    return bool(g.get("right") == "write")
