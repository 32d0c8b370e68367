"""Files are waited for whatever their numbers are."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from math import inf

import pytest
from lowq_conformance.support.readiness import find_readable

LARGE = 1200
"""The number of a file that `select.select` refuses."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end has a large number, and its writing end."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit <= LARGE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LARGE + 1, most))
    small, write = os.pipe()
    read = os.dup2(small, LARGE)
    os.close(small)
    yield read, write
    os.close(read)
    os.close(write)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


@pytest.mark.parametrize("seconds", [0, 0.001, inf])
def test_a_file_of_any_number_is_found_when_it_can_be_read(pipe: tuple[int, int], seconds: float) -> None:
    read, write = pipe
    os.write(write, b"!")

    assert find_readable([read], seconds) == [read]


def test_what_cannot_be_read_is_waited_for_no_longer_than_said(pipe: tuple[int, int]) -> None:
    read, _ = pipe

    assert find_readable([read], 0.001) == find_readable([read], -1) == []


def test_who_has_ended_is_found() -> None:
    read, write = os.pipe()
    os.close(write)
    try:
        assert find_readable([read], 0) == [read]
    finally:
        os.close(read)
