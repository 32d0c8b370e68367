"""Loads a target: finds its harness, reads what it promises, and tries it out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lowq_conformance.contract.harness import brings
from lowq_conformance.contract.known import KNOWN, SOMETIMES, read_known
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.contract.promises import (
    PROMISES,
    TRAITS,
    BrokenHarness,
    Traits,
    check_names,
    check_together,
    read_promises,
    read_traits,
)
from lowq_conformance.subject.client import MINUTE, Client
from lowq_conformance.subject.program import Journal
from lowq_conformance.subject.subject import VERBS, Subject
from lowq_conformance.subject.target import make_harness, maker_of
from lowq_conformance.support.signatures import keywords


def load(target: str, promises: tuple[str, ...] = (), folder: str | None = None) -> Subject:
    """The queue that `target` names, tried out in a place of its own in the folder, else where temporary files are.

    The `promises` are added to what it says.

    Raises BrokenHarness, in one line, where the target cannot be loaded or does not have what it promises.
    """
    make = maker_of(target)
    harness = make_harness(make, target)
    if not brings(harness, "open"):
        raise BrokenHarness(f"{target}: a harness has open(self, place); this {type(harness).__name__} has not")
    if make.checked:
        check_names(harness, target)
    traits = read_traits({name: getattr(harness, name) for name in TRAITS if hasattr(harness, name)}, target)
    known = read_known(getattr(harness, KNOWN, {}), getattr(harness, SOMETIMES, {}), target)
    added = read_words(promises)
    stated = getattr(harness, "promises", None)
    with TemporaryDirectory(prefix="lowq-probe-", dir=folder, ignore_cleanup_errors=True) as place:
        first = frozenset[str]() if stated is None else read_promises(read_promises(stated, target) | added, target)
        subject = Subject(target, make, harness, first, traits, Journal())
        subject.known = known
        try:
            client = subject.open(Path(place).resolve())
            if stated is None:
                subject.promises = read_promises(_spoken(client, harness) | added, target)
                subject.traits = read_traits(_traits_of(client, traits), target)
            check_together(subject.promises, subject.traits, target)
            _check_methods(subject, client, harness)
            _check_clock(subject, client)
            _try_keywords(subject, client)
        except Refused as refused:
            raise BrokenHarness(f"{target}: {refused}") from refused
        finally:
            subject.close()
    return subject.fresh()


def read_words(promises: tuple[str, ...]) -> frozenset[str]:
    """Promises given on a command line. Raises BrokenHarness for an unknown one."""
    words = [word.strip() for text in promises for word in text.split(",") if word.strip()]
    for word in words:
        if word not in PROMISES:
            read_promises([word], "--promise")
    return frozenset(words)


def _spoken(client: Client, harness: Any) -> frozenset[str]:
    """What a client promises that has no harness of its own: in its own words, or by its methods."""
    stated = getattr(client.raw, "promises", None)
    if isinstance(stated, (set, frozenset)):
        words = frozenset(stated)
        if "processes" in words and brings(harness, "start"):
            words |= {"worker"}  # the client cannot know of the worker that was written for it
        if brings(harness, "server"):
            words |= {"server"}  # nor how it is stopped
        # It speaks for the whole queue; what the way here cannot reach (a clock, names) is not asked of it.
        return frozenset(word for word in words if word not in PROMISES or not _lacking(word, client, harness))
    return frozenset(
        word
        for word, promise in PROMISES.items()
        if (promise.push or promise.claim or promise.methods or promise.open) and not _lacking(word, client, harness)
    )


def _traits_of(client: Client, traits: Traits) -> dict[str, Any]:
    known = {name: getattr(traits, name) for name in TRAITS}
    dedupe = getattr(client.raw, "dedupe", None)
    return known | ({"dedupe": dedupe} if isinstance(dedupe, str) else {})


def _check_methods(subject: Subject, client: Client, harness: Any) -> None:
    needed = ("push",) if "worker" in subject.promises and not client.has("claim") else ("push", "claim", "ack")
    for method in needed:
        if not client.has(method):
            raise BrokenHarness(f"{subject.target}: the client has no method {method}")
    for word in PROMISES:
        if word in subject.promises and (lack := _lacking(word, client, harness)):
            raise BrokenHarness(f"{subject.target}: promises {word!r}, but {lack}")


def _check_clock(subject: Subject, client: Client) -> None:
    """Raise BrokenHarness where a lease shows a clock that is not the machine's and the harness does not tell it."""
    if not subject.can_pass_time or subject.knows_now or "lease" not in subject.promises:
        return
    client.push("probe")
    held = client.claim(lease_for=MINUTE)
    expires = None if held is None else getattr(held.raw, "expires", None)
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        return
    shown = expires - MINUTE
    if abs(shown - datetime.now(UTC)) > MINUTE:
        raise BrokenHarness(
            f"{subject.target}: its clock says {shown:%Y-%m-%d %H:%M:%S}, which is not the machine's time: "
            "the harness needs now(self, place), the instant of that clock"
        )


OPTIONAL = (("release", "not_before", "not_before"), ("dead_letter", "reason", "dead_letter"))
"""Methods and keywords that they may take, with the promises without which nobody passes them."""


def _try_keywords(subject: Subject, client: Client) -> None:
    """A method that says it takes any keyword, as one does that hands them on, is asked for those it may not take."""
    for method, keyword, promise in OPTIONAL:
        if promise not in subject.promises or not client.has(method) or subject.shape[method] is not None:
            continue
        client.push(f"{method} {keyword}")
        held = client.claim(lease_for=MINUTE)
        if held is None:
            return
        try:
            if method == "release":
                client.release(held, not_before=subject.now(client.place) + subject.delay)
            else:
                client.dead_letter(held)
        except Refused as refused:
            if isinstance(refused.cause, TypeError) and keyword in str(refused.cause):
                subject.shape[method] = frozenset()


def _lacking(word: str, client: Client, harness: Any) -> str | None:
    """What is missing to keep the promise, or None."""
    promise = PROMISES[word]
    if word == "coroutines" and not any(iscoroutinefunction(getattr(client.raw, verb, None)) for verb in VERBS):
        return "no method of the client is async"
    for method in promise.methods:
        if not client.has(method):
            return f"the client has no method {method}"
    for method, keyword in (("push", promise.push), ("claim", promise.claim)):
        if keyword == "lease_for" and client.subject.traits.fixed_lease is not None:
            continue
        if keyword is not None and not (client.has(method) and client.takes(method, keyword)):
            return f"the client's {method} takes no {keyword}="
    if promise.open is not None and not _takes(harness.open, promise.open):
        return f"open takes no {promise.open}="
    if promise.harness is not None and not brings(harness, promise.harness):
        return f"the harness has no method {promise.harness}"
    return None


def _takes(method: Callable[..., Any], keyword: str) -> bool:
    known = keywords(method)
    return known is None or keyword in known
