"""How much a run looks at: every size of the suite that a profile decides, and the three profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Deaths:
    """How many clients die: within each verb, spread over its lines (`key`: in a push under a key), and in a claim
    when something falls due; within each verb that changes a task otherwise (extend, dead_letter, redrive, cancel);
    right after calls that returned; wherever it then is, also while it opens the queue."""

    push: int = 12
    key: int = 8
    batch: int = 8
    claim: int = 5
    due: int = 10
    ack: int = 6
    release: int = 4
    change: int = 8
    after: int = 2
    anywhere: int = 8


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of a run.

    `seeds` is how many seeds the random parts are made with, `bound` the seconds after which a test hangs.

    A storm has `clients` that carry out `rounds` for `seconds` at most, and is made again, `again` times at most,
    until it has shown what the clauses ask about; one in which clients close has `closing` rounds. One process after
    the other dies as `deaths` says, for `serial` seconds at most. In a storm of kills, which goes on for `killing`
    seconds, one dies each `every` seconds, and at most `reserves` come in their place. An order of a whole history is
    looked for in `looks` configurations.

    A queue's own worker is met at its end `endings` times, also where it waits before that for `lingering` seconds
    at most, killed `kills` times, and told to stop `terms` times while
    it runs a task and `stops` times on its way to the next one; several processes at once start workers, each
    `starts` times. A client that is about to wait for a task stands still at one line after the other, for `standing`
    seconds at most.

    Calls are interrupted at `interruptions` points at most, for `interrupting` seconds at most; a call that takes
    `stuck` seconds longer than the queue's patience then waits for ever.

    Connections to a server are cut in so many ways (`cuts`), for `cutting` seconds at most, and so many calls are
    made by clients whose connections are cut now and then (`hops`). A call to a server that is `away` may take so
    many seconds longer than the queue's patience.

    A sweep looks at the first `scenes` pairs of calls, for `sweeping` seconds at most by one sort of clients, and
    then for `doubling` seconds at schedules in which both calls stand still, and for `crowding` seconds at those of
    three clients; for `wearing` seconds at those of calls that do something now and then only, when so many tasks
    have gone through. Of `stills` pairs, a process is stopped in the first call, for `still` seconds at most, until
    the second call has met it `meets` times: waited for it, or was refused.

    The state machine makes `programs`, for `exploring` seconds at most, and makes what it finds small for `shrinking`
    seconds.
    """

    name: str
    says: str
    seeds: int = 1
    bound: float = 120.0
    clients: int = 4
    rounds: int = 150
    seconds: float = 3.0
    again: int = 5
    closing: int = 40
    deaths: Deaths = Deaths()
    serial: float = 15.0
    killing: float = 3.0
    every: tuple[float, float] = (0.1, 0.3)
    reserves: int = 30
    looks: int = 5000
    endings: int = 60
    lingering: float = 3.0
    kills: int = 8
    terms: int = 3
    stops: int = 5
    starts: int = 12
    standing: float = 0.8
    interruptions: int = 400
    interrupting: float = 12.0
    stuck: float = 8.0
    cuts: int = 100
    cutting: float = 1.0
    hops: int = 80
    away: float = 4.0
    scenes: int = 100
    sweeping: float = 60.0
    doubling: float = 0.0
    crowding: float = 0.0
    wearing: float = 12.0
    stills: int = 5
    still: float = 0.6
    meets: int = 1
    programs: int = 60
    exploring: float = 30.0
    shrinking: float = 5.0


DEFAULT = Profile("default", "some 25 s for sqlite")
QUICK = replace(
    DEFAULT,
    name="quick",
    says="some 10 s for sqlite",
    scenes=3,
    sweeping=5.0,
    wearing=0.0,
    stills=1,
    still=0.4,
    meets=1,
    rounds=40,
    seconds=2.0,
    again=10,
    closing=10,
    deaths=Deaths(push=2, key=1, batch=2, claim=1, due=2, ack=1, release=1, change=1, after=1, anywhere=2),
    serial=6.0,
    killing=1.0,
    every=(0.08, 0.2),
    reserves=10,
    looks=1000,
    endings=8,
    lingering=0.0,
    kills=3,
    terms=2,
    stops=0,
    starts=3,
    standing=0.2,
    interruptions=60,
    interrupting=2.0,
    cuts=40,
    cutting=0.8,
    hops=60,
    away=2.0,
    programs=6,
    exploring=10.0,
    shrinking=3.0,
)
THOROUGH = replace(
    DEFAULT,
    name="thorough",
    sweeping=300.0,
    doubling=120.0,
    crowding=120.0,
    wearing=60.0,
    stills=100,
    still=7.0,
    meets=3,
    says="minutes",
    seeds=3,
    bound=600.0,
    clients=5,
    rounds=600,
    seconds=12.0,
    closing=150,
    deaths=Deaths(push=36, key=24, batch=24, claim=15, due=30, ack=18, release=12, change=24, after=6, anywhere=24),
    serial=60.0,
    killing=12.0,
    reserves=120,
    looks=50_000,
    endings=300,
    lingering=10.0,
    kills=40,
    terms=15,
    stops=20,
    starts=60,
    standing=6.0,
    interruptions=10_000,
    interrupting=90.0,
    cuts=5_000,
    cutting=20.0,
    hops=1_000,
    away=8.0,
    programs=400,
    exploring=200.0,
    shrinking=15.0,
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (QUICK, DEFAULT, THOROUGH)}
