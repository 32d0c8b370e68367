"""Cutting off calls at an instruction, as the tests do it."""

from __future__ import annotations

import sys
from contextlib import suppress

from cutoff import CutOff, at_instruction


def handle() -> None:
    with suppress(ValueError):
        try:
            raise KeyError(1)
        except KeyError:
            raise ValueError(2) from None


def test_no_exception_stays_handled_behind_a_call_that_was_cut_off() -> None:
    index, reached = 0, True
    while reached:
        with suppress(CutOff):
            reached = at_instruction(index, handle, package=__file__)
        assert sys.exc_info() == (None, None, None), index
        index += 1
    assert index > 10
