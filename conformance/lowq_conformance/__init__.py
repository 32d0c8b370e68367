"""The conformance suite: checks the promises of any queue, clause by clause.

Its public names are loaded when they are asked for, so that importing a harness's module costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowq_conformance.contract.harness import Client, Harness, Server
    from lowq_conformance.contract.verdict import Verdict
    from lowq_conformance.report.report import Report
    from lowq_conformance.run.runner import run as check
    from lowq_conformance.subject.handler import Handler

_PLACES = {
    "Client": "contract.harness:Client",
    "Handler": "subject.handler:Handler",
    "Harness": "contract.harness:Harness",
    "Report": "report.report:Report",
    "Server": "contract.harness:Server",
    "Verdict": "contract.verdict:Verdict",
    "check": "run.runner:run",
}
"""Where each public name is; `run` is the name of a room, so that what it does is called `check` here."""

__all__ = ["Client", "Handler", "Harness", "Report", "Server", "Verdict", "check"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, found = _PLACES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), found)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
