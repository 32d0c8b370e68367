"""Agents: separate processes with the queue, released together, killed, waited for, and never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.run.own_fault import own_fault
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.barrier import Barrier
from lowq_conformance.storm.fork_server import AgentFailed, fork_fork_server, start_fork_server
from lowq_conformance.storm.recorder import RecordedCall, load
from lowq_conformance.subject.loading import load as harness
from lowq_conformance.sweep import stage
from lowq_conformance.sweep.schedule import How

BOUND = 30


@pytest.fixture(params=[start_fork_server, fork_fork_server], ids=["an interpreter", "a fork"])
def agents(request: pytest.FixtureRequest) -> Iterator[Agents]:
    with Agents(request.param()) as agents:
        yield agents


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    for name in ("place", "logs"):
        (tmp_path / name).mkdir()
    subject = harness("sqlite")
    return Orders(
        "sqlite",
        subject.promises,
        subject.traits,
        tmp_path / "place",
        tmp_path / "logs",
        timedelta(hours=1),
        meeting=tmp_path / "meeting",
        slots=2,
    )


def calls(orders: Orders, process: str) -> list[RecordedCall]:
    return [call for call in load(orders.logs).calls if call.process == process]


def finish(*agents: Agent) -> None:
    for agent in agents:
        while agent.busy:
            assert agent.heard()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(what: object) -> None:
    end = time.monotonic() + BOUND
    while not what() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.005)
    assert what()  # type: ignore[operator]


def part(client: str, *steps: list[object], slot: int = 0) -> dict[str, object]:
    return {"client": client, "slot": slot, "steps": list(steps)}


def test_agents_are_processes_that_share_the_queue(agents: Agents, orders: Orders) -> None:
    one, other = agents.start(orders), agents.start(orders)

    one.do([part("one", ["push", "x"])])
    finish(one)
    other.do([part("other", ["claim"])])
    finish(other)

    assert len({one.pid, other.pid, os.getpid()}) == 3
    assert calls(orders, "other")[-1].result["work"] == "x"


def test_several_clients_of_one_agent_are_threads(agents: Agents, orders: Orders) -> None:
    agent = agents.start(orders)

    agent.do([part("a", ["meet", 1], ["push", "x"]), part("b", ["meet", 1], ["push", "y"], slot=1)])
    finish(agent)

    assert [calls(orders, name)[-1].result["added"] for name in "ab"] == [True, True]


def test_who_meets_goes_on_together(agents: Agents, orders: Orders) -> None:
    """Who waits in vain for a quarter of a second, on a busy machine, goes on alone: one of five meetings will do."""
    one, other = agents.start(orders), agents.start(orders)
    first: list[list[object]] = [["open"]]
    second: list[list[object]] = [["open"]]
    for n in range(1, 6):
        first += [["meet", n], ["push", n]]
        second += [["push", -n], ["nap", 0.1], ["meet", n]]

    one.do([part("one", *first)])
    other.do([part("other", *second, slot=1)])
    finish(one, other)

    pushes = [[call for call in calls(orders, name) if call.kind == "push"] for name in ("one", "other")]
    assert any(mine.call > (theirs.ret or 0) + 90_000_000 for mine, theirs in zip(*pushes, strict=True))


def test_nobody_waits_for_who_has_left(tmp_path: Path) -> None:
    meeting = Barrier(tmp_path / "meeting", 2)

    meeting.leave(1)

    assert meeting.come(0, 1, patience=BOUND)


def test_a_killed_agent_is_seen_dead_after_its_last_call_began(agents: Agents, orders: Orders) -> None:
    agent = agents.start(orders)
    agent.do([part("a", *[["push", n] for n in range(10_000)])])
    wait_for(lambda: len(load(orders.logs).calls) > 3)

    dead = agents.kill(agent)

    assert gone(agent.pid)
    last = calls(orders, "a")[-1]
    assert max(last.call, last.ret or 0) < dead
    assert not agent.busy <= set()


def test_a_doomed_call_is_never_told_to_have_returned(agents: Agents, orders: Orders) -> None:
    for number in range(5):
        agent = agents.start(orders)
        agent.do([part(f"a{number}", ["push", 1], ["doom", number / 4], ["push", 2], ["push", 3])])
        while agent.heard():
            pass
        agents.bury(agent)

    for number in range(5):
        made = calls(orders, f"a{number}")
        assert made[-1].args["work"] == 2
        assert made[-1].ret is None or number == 4


def test_a_harness_that_cannot_be_made_is_said_to_be_broken(agents: Agents, orders: Orders) -> None:
    bad = Orders("no.such:Queue", orders.promises, orders.traits, orders.place, orders.logs, orders.lease)

    with pytest.raises(BrokenHarness, match=r"no\.such"):
        agents.start(bad)


def test_an_agent_has_the_environment_that_a_harness_made_meanwhile(
    agents: Agents, orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told.py").write_text(
        "import os\n"
        "from lowq import open_backend\n"
        "class Harness:\n"
        "    promises = frozenset({'threads', 'processes', 'persistent'})\n"
        "    def open(self, place): return open_backend(os.environ['LOWQ_TEST_WHERE'])\n"
    )
    monkeypatch.setenv("LOWQ_TEST_WHERE", str(tmp_path / "there.db"))  # as where a server is that was started
    told = f"{tmp_path / 'told.py'}:Harness"

    agent = agents.start(Orders(told, orders.promises, orders.traits, orders.place, orders.logs, orders.lease))

    agent.do([part("a", ["push", "x"])])
    finish(agent)
    assert (tmp_path / "there.db").exists()


def test_what_goes_wrong_in_an_agent_is_told(agents: Agents, orders: Orders) -> None:
    agent = agents.start(orders)
    agent.do([part("a", ["juggle"])])

    with pytest.raises(AgentFailed, match="do_juggle"):
        finish(agent)


@pytest.mark.parametrize("how", ["processes", "threads"])
def test_a_client_that_is_not_ready_in_time_is_no_fault_of_the_queues(
    agents: Agents, orders: Orders, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "BOUND", -1.0)

    with pytest.raises(AgentFailed) as raised:
        stage.Stage(agents, orders, how, 1.0).cast(orders.place)
    assert own_fault(raised.value) is not None


def test_an_agent_that_died_as_it_started_is_no_fault_of_the_queues(agents: Agents, orders: Orders) -> None:
    agent = agents.starting(orders)
    os.kill(agent.pid, signal.SIGKILL)

    with pytest.raises(AgentFailed) as raised:
        agents.await_ready(agent)
    assert own_fault(raised.value) is not None


def test_leaving_ends_every_agent_whatever_it_does(orders: Orders) -> None:
    with Agents() as agents:
        started = [agents.start(orders), agents.start(orders)]
        started[0].do([part("a", ["nap", 1000])])

    assert all(gone(agent.pid) for agent in started)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_agent_outlives_who_started_it(orders: Orders, how: signal.Signals) -> None:
    program = """
        import sys, time, pickle
        from lowq_conformance.storm.agents import Agents
        with Agents() as agents:
            agent = agents.start(pickle.loads(bytes.fromhex(sys.argv[1])))
            agent.do([{"client": "a", "slot": 0, "steps": [["nap", 1000]]}])
            print(agent.pid, flush=True)
            time.sleep(1000)
    """
    import pickle

    argument = pickle.dumps(orders).hex()
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), argument],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())

    starter.send_signal(how)
    starter.communicate(timeout=BOUND)

    wait_for(lambda: gone(pid))
