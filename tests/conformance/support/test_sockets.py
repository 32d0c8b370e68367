"""The suite's own sockets wait, whatever a queue has set for all sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from lowq_conformance.support.sockets import make_pair, take_over


@pytest.fixture(autouse=True)
def default_timeout() -> Iterator[None]:
    """Some library has set a timeout for all sockets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.05)
    yield
    socket.setdefaulttimeout(before)


def test_both_ends_wait_as_long_as_it_takes() -> None:
    ends = make_pair()

    assert [(end.gettimeout(), os.get_blocking(end.fileno())) for end in ends] == [(None, True)] * 2
    for end in ends:
        end.close()


def test_a_socket_that_was_given_waits_as_long_as_it_takes() -> None:
    mine, its = socket.socketpair()

    with mine, take_over(its.detach()) as taken:
        assert taken.gettimeout() is None
        assert os.get_blocking(taken.fileno())
