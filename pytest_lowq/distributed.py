"""What xdist's controller and its workers tell each other; registered where tests are distributed.

The controller collects nothing, so it learns only from its workers, when they end, how many tests use the plugin.
PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_lowq.settings import use, users

if TYPE_CHECKING:
    from typing import Any

_users = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller: the worker draws from the controller's seed."""
    node.workerinput["lowq_seed"] = node.config.option.lowq_seed


def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker: the controller will hear how many tests use the plugin."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["lowq_users"] = users(session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the controller: every worker collects the same tests, so one of them is enough."""
    node.config.stash[_users] = getattr(node, "workeroutput", {}).get("lowq_users", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """In the controller: a line where tests use the plugin, which stands above the tests where there is no xdist."""
    if (number := config.stash.get(_users, 0)) and config.option.verbose >= 0:
        terminalreporter.write_line(use(config, number))
