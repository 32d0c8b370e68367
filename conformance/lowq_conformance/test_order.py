"""ORDER: which task comes next."""

from __future__ import annotations

import pytest

from lowq_conformance.client import Client
from lowq_conformance.expect import gives


@pytest.mark.clause("ORDER-1")
def test_first_in_first_out(q: Client) -> None:
    for work in ("a", "b", "c"):
        q.push(work)

    gives(q, "a", "b", "c")
