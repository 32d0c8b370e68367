"""What a harness tells of its server is looked at before a place is opened, and what is wrong is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.subject.loading import load

HARNESSES = Path(__file__).parents[1] / "harnesses.py"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ServerOfNothing", "expected an address, or something with address, restart or freeze, got None"),
        ("ServerAtNoAddress", "address: expected host:port, or the path of a socket, got 'somewhere'"),
        ("ServerNobodyGoesTo", "it tells an address, and open takes no address="),
        ("ServerMisspelt", "it has a 'restrat', did you mean 'restart'?"),
        ("ServerOnlyKilled", "it has kill, and no restart"),
        ("ServerNeverThawed", "it has one of freeze and thaw, and not the other"),
        ("ServerThatFails", "server raised RuntimeError: no server in sight"),
    ],
)
def test_a_server_that_cannot_be_used_is_a_broken_harness(tmp_path: Path, name: str, said: str) -> None:
    subject = load(f"{HARNESSES}:{name}")
    try:
        with pytest.raises(BrokenHarness) as caught:
            subject.serve(tmp_path)
    finally:
        subject.close()

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MisspeltServer", "unknown method 'servr', did you mean 'server'?"),
        ("PromisesAServer", "promises 'server', but the harness has no method server"),
    ],
)
def test_a_harness_that_says_it_otherwise_is_told_so(name: str, said: str) -> None:
    with pytest.raises(BrokenHarness) as caught:
        load(f"{HARNESSES}:{name}")

    assert said in str(caught.value)


def test_without_a_way_to_stop_it_the_way_there_is_cut(tmp_path: Path) -> None:
    subject = load("lowq_conformance.queues.sound.served:Served")
    try:
        served = subject.serve(tmp_path)
        served._server = served._server.address
        q = subject.open(tmp_path, address=served.address())
        q.push("a")
        served.go_away()
        with pytest.raises(Exception, match="did not answer"):
            q.push("b")
        served.come_back()
        assert q.push("c").added
        assert served.address(proxied=False) is None
    finally:
        subject.close()


def test_where_no_address_is_told_there_is_no_proxy(tmp_path: Path) -> None:
    subject = load("lowq_conformance.queues.sound.served:Served")
    try:
        subject.harness.server = lambda _: type("Server", (), {"restart": lambda _: None})()
        served = subject.serve(tmp_path)
        with pytest.raises(NotPromised, match="tells no address"):
            served.need_proxy()
        assert served.address() is None
    finally:
        subject.close()
