"""What Prometheus reads of the queues, at `/metrics`."""

from __future__ import annotations

from flask import Blueprint, Response

from lowq.metrics import CONTENT_TYPE, write_metrics
from lowq.web.parts import parts


def blueprint() -> Blueprint:
    """The one view, to be registered in an application."""
    made = Blueprint("metrics", __name__)
    made.add_url_rule("/metrics", view_func=metrics)
    return made


def metrics() -> Response:
    """Depth by state and age of the oldest due task of each queue of the location."""
    known = parts()
    queues = [(name, known.queues.get(name, create=False)) for name in known.queues.names()]
    return Response(write_metrics(queues, known.now()), content_type=CONTENT_TYPE)
