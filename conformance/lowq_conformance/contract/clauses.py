"""The registry of clauses: what each says, and which promises it is asked of. The numbers are never reused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lowq_conformance.contract.promises import PROMISES, Traits

GROUPS: Mapping[str, str] = {
    "DELIVER": "What goes in comes out",
    "DEDUPE": "Equal works",
    "ORDER": "Which task comes next",
    "DUE": "Tasks with a time",
    "LEASE": "A claim that ends by itself",
    "RELEASE": "Giving a task back",
    "DEAD": "Setting a task aside",
    "CANCEL": "Taking a task out",
    "BATCH": "Many at once",
    "HEADERS": "What goes along with a work",
    "WAIT": "Claims that wait for a task",
    "RACE": "Many clients at once",
    "KEEP": "Closing and opening again",
    "CRASH": "kill -9 at any instant",
    "TX": "Pushes in the application's own transaction",
    "INTERRUPT": "An exception in the middle of a call",
    "SERVER": "Servers that go away",
    "CLOSE": "Letting go",
    "INPUT": "What must be refused",
    "NAMES": "Places and names",
    "WORKER": "A worker of its own",
}

_MANY = "threads|processes"


@dataclass(frozen=True, slots=True)
class Clause:
    """One promise in words.

    `needs` are the promises it takes, all of them; ``a|b`` is either, ``dedupe`` that the trait is not ``off``, and
    ``requeue=place`` that it has this value. `checked` is False while this version has no check for it.
    """

    id: str
    text: str
    needs: tuple[str, ...] = ()
    checked: bool = True

    @property
    def group(self) -> str:
        """The word before the number."""
        return self.id.partition("-")[0]

    def missing(self, promises: frozenset[str], traits: Traits) -> str | None:
        """The first thing it needs that is not promised, or None."""
        for need in self.needs:
            name, is_trait, value = need.partition("=")
            if is_trait:
                held = getattr(traits, name) == value
            elif need == "dedupe":
                held = traits.dedupe != "off"
            else:
                held = not promises.isdisjoint(need.split("|"))
            if not held:
                return need
        return None


def _clauses(group: str, needs: str, *rows: tuple[str, str] | tuple[str, str, bool]) -> Iterable[Clause]:
    """The clauses of a group, numbered from 1; each row has its words, its own needs, and False where unchecked."""
    for number, (text, own, *checked) in enumerate(rows, start=1):
        yield Clause(f"{group}-{number}", text, (*needs.split(), *own.split()), *checked)


CLAUSES: Mapping[str, Clause] = {
    clause.id: clause
    for clauses in (
        _clauses(
            "DELIVER",
            "",
            ("Every pushed work is claimed, equal to what was pushed as JSON", ""),
            ("Nothing comes out that did not go in", ""),
            ("Two clients never hold one task at the same time", ""),
            ("An acked task never comes back: not at once, not later, not after reopening", ""),
            ("An empty queue answers None at once", "prompt"),
            ("A claim answers None only if nothing was due at some instant of the call", "prompt"),
            ('Falsy works (0, "", false, null, [], {}) are works like any other', ""),
            ("A work of 1 MiB arrives intact or is refused with a named error, and is never cut", ""),
            ("Changing an object after pushing it changes nothing in the queue", "json"),
            ("At rest, counts and listings agree with what was pushed and settled", "inspect"),
            ("Settling, cancelling or redriving one task leaves every other as it was", ""),
            (
                "A full queue refuses a push by name and drops nothing, and the limit given at opening holds",
                "capacity",
            ),
            ("Peeking changes nothing", "peek"),
        ),
        _clauses(
            "DEDUPE",
            "dedupe",
            ("An equal work is not added again, and push says so", ""),
            ("Equal means equal values: the order of object keys and spelling do not matter", ""),
            ('Different works are never merged: 1, "1", true, 1.0, a composed and a decomposed é', ""),
            ("An explicit key decides, and never meets another work's default key", "key"),
            ("After ack, the work may be pushed again", ""),
            ("While a task runs, the declared window holds: refused (until_done) or queued once (until_claimed)", ""),
            ("After dead-letter or cancel, the work may be pushed again", "dead_letter|cancel"),
            ("A refused duplicate changes nothing of the standing task", ""),
            ("Many clients pushing one work at once add it once", _MANY),
            ("Equal works are still refused after reopening", "persistent"),
            ("Equal works in one batch are added once: the first of them", "batch"),
            ("A task whose lease ran out, or that was released, still counts as standing", "lease|release"),
        ),
        _clauses(
            "ORDER",
            "",
            ("First in, first out for one client", "fifo"),
            ("A push that returned before another began comes out first, whoever pushed", f"fifo {_MANY}"),
            ("Higher priority comes out first", "priority"),
            ("Within a priority, push order", "fifo priority"),
            ("Negative, zero and large priorities count, from -2^31 to 2^31-1", "priority"),
            ("A released task keeps its place", "fifo release requeue=place"),
            ("A task whose lease ran out keeps its place", "fifo lease requeue=place"),
            ("Order survives reopening", "fifo persistent"),
            ("When the wall clock steps back, what was due stays due, in order", "fifo clock"),
            ("A batch keeps its order", "fifo batch"),
            ("Thousands of works pushed within a moment keep their order", "fifo"),
        ),
        _clauses(
            "DUE",
            "not_before",
            ("A task is never claimed before its time", ""),
            ("A task is claimable at its time, not a moment later", ""),
            ("Times hold to the millisecond", ""),
            ("Among the due tasks, priority decides", "priority"),
            ("A task that is not due blocks nobody", ""),
            ("A time in the past is now", ""),
            ("A time survives reopening", "persistent"),
            ("One instant in two time zones is one instant", ""),
            ("The year 9999 is a time like any other", ""),
        ),
        _clauses(
            "LEASE",
            "",
            ("While a lease runs, nobody else gets the task", "lease"),
            ("When a lease ran out, somebody gets the task", "lease"),
            ("Attempts count the claims", "lease"),
            ("A stale ack is refused and changes nothing", "lease fenced"),
            ("A stale release is refused and changes nothing", "lease fenced release"),
            ("A stale extend is refused and changes nothing", "lease fenced extend"),
            ("After a stale attempt, the holder can still settle", "lease fenced"),
            ("Extend holds the task longer, and no longer than that", "lease extend"),
            ("Settling twice is refused and harmless: release after ack resurrects nothing", "fenced"),
            ("Opening or closing another client ends nobody's claim", "shared_lease"),
            (
                "A lease of zero or less is refused, or where `zero_lease` says so, one of zero is over at once",
                "lease",
            ),
            ("Many clients racing for a lease that ran out: one gets it", f"lease {_MANY}"),
            ("A stale dead_letter is refused and changes nothing", "lease fenced dead_letter"),
        ),
        _clauses(
            "RELEASE",
            "release",
            ("A released task is claimable again at once", ""),
            ("A task released until a time is not claimable before it", "not_before"),
            ("A released task keeps its work, key, priority and attempts", ""),
        ),
        _clauses(
            "DEAD",
            "dead_letter",
            ("A dead task is never claimed", ""),
            ("A dead task is kept, with its reason", ""),
            ("A redriven task waits again, once", ""),
        ),
        _clauses(
            "CANCEL",
            "cancel",
            ("A cancelled task is never claimed", ""),
            ("A leased task is not cancelled under its worker", ""),
            ("Cancelling what is not there says so", ""),
        ),
        _clauses(
            "BATCH",
            "batch",
            ("A batch is kept whole or not at all", ""),
            ("An empty batch is fine", ""),
        ),
        _clauses(
            "HEADERS",
            "headers",
            ("Headers arrive as they were pushed, through release, expiry, dead letter, redrive and reopening", ""),
            ("Headers play no part in what is equal, and a refused duplicate changes none", "dedupe"),
            ("A header whose name or value is no string is refused before anything is kept", ""),
        ),
        _clauses(
            "WAIT",
            "wait",
            ("A waiting claim returns when a task is pushed, by whichever client, thread or process", _MANY),
            ("A waiting claim returns when a task falls due", f"not_before {_MANY}"),
            (
                "A waiting claim returns when a lease ends, or a task is released or redriven",
                f"lease|release|dead_letter {_MANY}",
            ),
            ("As many waiting claims return as tasks are pushed: none is left asleep beside a due task", _MANY),
            ("A waiting claim ends when its time is over, not before while nothing is due, and close ends it", ""),
            ("A waiting client that is killed takes nobody's wake-up with it", "crash processes"),
        ),
        _clauses(
            "RACE",
            "",
            ("Racing claims: no task is claimed twice", _MANY),
            ("Racing pushes: none is lost", _MANY),
            ("Whole histories of push, claim, ack and release are explained by the sequential model", _MANY),
            ('Contention never surfaces as an error ("database is locked")', _MANY),
            ("Nobody waits for ever", _MANY),
            ("Closing one client while others work harms nobody", _MANY),
            ("A client opened before a fork works, or refuses clearly, on both sides", "processes"),
            (
                "While a process is stopped in a call, others wait or are refused by name, and what anybody "
                "acknowledges is kept",
                "processes",
            ),
            (
                "Many calls of one client at once, on one event loop: none is lost, none is claimed twice, and the "
                "sequential model explains them",
                "coroutines",
            ),
        ),
        _clauses(
            "KEEP",
            "persistent",
            ("Waiting, scheduled, leased and dead tasks survive reopening with all they carry", ""),
        ),
        _clauses(
            "CRASH",
            "crash",
            ("A push that returned is kept", ""),
            ("A push cut off is whole or absent", ""),
            ("A batch cut off is whole or absent", "batch"),
            ("A killed worker's task is claimed again when its lease has run out", "lease"),
            ("An ack that returned is kept", ""),
            ("The queue opens and works after any kill: nothing stays locked, marked or half-written", ""),
            ("A storm of kills over a long run loses and invents nothing", ""),
        ),
        _clauses(
            "TX",
            "transaction",
            ("A push in a transaction that is rolled back never was, and its work may be pushed again", ""),
            ("A push in a transaction is not claimed before the commit", ""),
            ("What is committed is there, in an order that the order of the commits explains", ""),
            ("A program that is killed before the commit leaves nothing", "crash processes"),
        ),
        _clauses(
            "INTERRUPT",
            "",
            ("A call that an exception interrupts, as a signal handler raises it, is whole or absent", ""),
            ("Its client works on, or refuses by name until opened again; what it acknowledges then is kept", ""),
            ("No other client, thread or process is locked out by it", _MANY),
        ),
        _clauses(
            "SERVER",
            "server",
            ("A call whose connection is cut is whole or absent", ""),
            ("When the server is there again, clients work again without being opened anew", ""),
            ("A waiting claim whose connection was cut gets what is pushed then", "wait threads"),
            ("What was acknowledged survives kill -9 of the server", "persistent outlasts=kill"),
            ("While the server is away, every call ends within patience, in a named error", ""),
            ("A lost reply loses no task, and makes no second one", ""),
            ("A connection over which nothing comes is given up within patience", ""),
            ("Two clients whose connections were cut never hold one task", "lease shared_lease"),
        ),
        _clauses(
            "CLOSE",
            "close",
            ("Closing twice is fine", ""),
            ("Use after closing raises a named error", ""),
            ("After closing, no thread, process or file handle is left", ""),
        ),
        _clauses(
            "INPUT",
            "",
            (
                "What is not JSON is refused at push with a named error that says where, and nothing is kept",
                "json",
            ),
            ("A refused push leaves the queue and the next push whole", ""),
            ("Deep nesting and huge integers arrive intact or are refused, and nothing crashes", "json"),
            ("Naive datetimes, priorities that are no integers and the like are refused before anything is kept", ""),
            ("A push that fails half-way is whole or absent, and leaves the queue and the next push whole", ""),
        ),
        _clauses(
            "NAMES",
            "",
            ("Two places share nothing", ""),
            ("Two names in one place share nothing", "names"),
        ),
        _clauses(
            "WORKER",
            "worker",
            ("Every task pushed is run", ""),
            ("Pushing and starting while a worker is about to exit strands nothing", ""),
            ("One failing task stops no other", ""),
            ("A killed worker's queue runs again at the next start", ""),
            ("There are never more workers than asked for", ""),
            ("SIGTERM finishes or gives back the task in hand", ""),
            ("The starter's own clean-up code runs once, in the starter", ""),
            ("A task that takes longer than the lease is run once, while its worker lives", ""),
            (
                "A worker that stood still past its lease settles nothing later, and takes nobody's task away",
                "lease fenced",
            ),
            (
                "A task that always fails is tried as often as the harness states, then set aside, and blocks nobody",
                "",
            ),
            ("A retry comes no earlier than the harness states", ""),
            ("Never more tasks are run at once than there are workers", ""),
            ("A worker goes on when its storage comes back", "server"),
            ("A task with a time runs, at its time, also where a worker was killed meanwhile", "not_before"),
            ("After a work was done, it may be pushed again and runs again", "dedupe"),
        ),
    )
    for clause in clauses
}


VERSIONS: Mapping[int, Mapping[str, int]] = {
    1: {
        "DELIVER": 10,
        "DEDUPE": 12,
        "ORDER": 11,
        "DUE": 9,
        "LEASE": 13,
        "RELEASE": 3,
        "DEAD": 3,
        "CANCEL": 3,
        "BATCH": 2,
        "RACE": 7,
        "KEEP": 1,
        "CRASH": 7,
        "CLOSE": 3,
        "INPUT": 4,
        "NAMES": 2,
        "WORKER": 7,
    },
    2: {
        "DELIVER": 13,
        "HEADERS": 3,
        "WAIT": 6,
        "RACE": 9,
        "INTERRUPT": 3,
        "TX": 4,
        "SERVER": 8,
        "INPUT": 5,
        "WORKER": 15,
    },
}
"""The versions of the set of clauses, each with the last number of every group that it added to; a new clause is in
the newest one until that is released."""
VERSION = max(VERSIONS)


def since(id: str) -> int:
    """The version of the set in which a clause was first."""
    group, _, number = id.partition("-")
    return next((version for version, last in VERSIONS.items() if int(number) <= last.get(group, 0)), VERSION)


class UnknownClause(ValueError):
    """No clause and no group has this name."""


def select(only: Iterable[str]) -> tuple[str, ...]:
    """The ids that words such as ``DEDUPE`` and ``RACE-3`` name, in the registry's order; no word names them all.

    Raises UnknownClause.
    """
    words = {word.strip().upper() for text in only for word in text.split(",") if word.strip()}
    for word in sorted(words):
        if word not in CLAUSES and word not in GROUPS:
            raise UnknownClause(f"--only: there is no clause {word}; groups are {', '.join(GROUPS)}")
    return tuple(id for id, clause in CLAUSES.items() if not words or id in words or clause.group in words)


def needs_of(clause: Clause) -> str:
    """The needs in words, for people: ``fifo, threads or processes``."""
    return ", ".join(
        "dedupe" if need == "dedupe" else need.replace("|", " or ").replace("=", ": ") for need in clause.needs
    )


assert all(
    word in PROMISES or word == "dedupe" or "=" in word
    for clause in CLAUSES.values()
    for need in clause.needs
    for word in need.split("|")
)
