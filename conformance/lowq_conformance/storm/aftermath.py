"""Tells how often each work of a scene may come out after one call was interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lowq_conformance.history.work_text import work_text

WHOLE, USABLE, FREE = "INTERRUPT-1", "INTERRUPT-2", "INTERRUPT-3"

BATCH = 3
"""Items of a batch."""

Said = tuple[str, str]
"""A clause, and the sentence that says what broke it."""


@dataclass(slots=True)
class Tally:
    """The works of the scene numbered `n`; `merges`: equal works that wait are one."""

    verb: str
    n: int
    merges: bool
    lasts: bool = True
    """Whether what was pushed before is to be there."""
    returns: bool = True
    """Whether what was claimed comes back when its lease is over: no task may be set aside after one claim."""
    tried: int = 0
    """How often the call was made."""
    returned: list[str] = field(default_factory=list)
    """Which of these calls returned: "cut" or "again"."""
    others: str = ""
    """What became of the other client's push: "returned", "refused", or nothing: it was not made."""
    after: str = ""
    """Likewise of the push that followed."""
    torn: bool = False
    beside: bool = False
    """Whether other calls of the client were under way."""
    opened_again: bool = False
    """Whether the client refused, and was opened again."""
    early: str = ""
    """What became of the one that began before the call, as of the others."""
    late: str = ""
    """Likewise of the one that began as the call was interrupted."""

    def note(self, which: str, told: dict[str, Any]) -> None:
        """The call was made, for the first time ("cut") or "again"."""
        self.tried += 1
        answer = told.get("answer")
        if told.get("returned") and (self.verb not in ("cancel", "redrive") or answer is True):
            self.returned.append(which)
        if which == "again" and self.verb == "push_many" and isinstance(answer, list):
            self.torn = len({each for each in answer if each is not None}) > 1

    def forget(self) -> None:
        """What was there until now need not be there any more: its client is gone, and was not closed."""
        self.lasts, self.returned = False, []
        self.others, self.after, self.early, self.late = (
            became and "refused" for became in (self.others, self.after, self.early, self.late)
        )

    @property
    def items(self) -> list[str]:
        """The works that the interrupted call pushes."""
        if self.verb == "push":
            return [f"{self.n} cut"]
        return [f"{self.n} cut {i}" for i in range(BATCH)] if self.verb == "push_many" else []

    def faults(self, works: list[Any], *, all_back: bool) -> Iterator[Said]:
        """What is wrong where these works came out; `all_back`: every lease is over."""
        found = Counter(map(work_text, works))
        yield from self._look_at_pushed(found)
        yield from self._look_at_prepared(found, all_back=all_back)
        yield from self._look_at_acknowledged(found, all_back=all_back)

    @property
    def enough(self) -> list[str]:
        """Works that come out, however the call ended."""
        second = self.verb in ("ack", "extend", "release", "dead_letter", "redrive", "cancel")
        became = {"other": self.others, "after": self.after, "early": self.early, "late": self.late}
        words = {"second": second, **{name: each == "returned" for name, each in became.items()}}
        if self.claims:  # it may have any of these in hand
            words["early"] = words["late"] = False
        return [f"{self.n} {word}" for word, comes in words.items() if comes]

    def misses(self, works: list[Any]) -> bool:
        """Whether something may still be leased that the call was about."""
        words = {"claim": ["first", "second"], "release": ["first"], "extend": ["first"]}.get(self.verb, [])
        if self.claims:
            later = (("other", self.others), ("after", self.after)) if self.verb == "claim_wait" else ()
            pushed = (("early", self.early), ("late", self.late), *later)
            words += [name for name, became in pushed if became == "returned"]
        return any(f"{self.n} {word}" not in works for word in words)

    @property
    def claims(self) -> bool:
        """Whether the call takes a task in hand."""
        return self.verb in ("claim", "claim_wait")

    def _look_at_pushed(self, found: Counter[str]) -> Iterator[Said]:
        times = [found[work_text(item)] for item in self.items]
        if self.torn:
            yield (
                WHOLE,
                "of the batch that was interrupted a part was kept: pushed again, some was added and some was not",
            )
            return
        if len(set(times)) > 1:
            yield WHOLE, f"of the batch that was interrupted a part was kept: {_of(times)}"
            return
        most = 1 if self.merges else self.tried
        least = min(most, len(self.returned))
        for item, number in zip(self.items[:1], times[:1], strict=True):
            if number > most:
                yield WHOLE, f"{item!r} came out {_times(number)}, and was pushed {_times(self.tried)}"
            elif number < least and "again" in self.returned:
                yield USABLE, f"{item!r} was acknowledged after the interruption, and is not kept"
            elif number < least:
                yield WHOLE, f"{item!r} was acknowledged, and is not kept"

    def _look_at_prepared(self, found: Counter[str], *, all_back: bool) -> Iterator[Said]:
        first, second = (found[work_text(f"{self.n} {word}")] for word in ("first", "second"))
        if self.verb == "claim_wait" or not self.lasts:
            return
        for name, number in (("first", first), ("second", second)):
            if number > 1:
                yield WHOLE, f"'{self.n} {name}' came out {_times(number)}"
        if self.verb in ("push", "push_many", "tasks", "count", "close"):
            if not first:
                yield WHOLE, f"'{self.n} first' is lost, of which the interrupted call knows nothing"
            return
        if self.verb == "claim":
            if first + second < (2 if all_back and self.returns else 1):
                missing = " and ".join(
                    f"'{self.n} {name}'" for name, n in (("first", first), ("second", second)) if not n
                )
                yield (
                    WHOLE,
                    f"{missing} did not come out, also when every lease was over" if all_back else f"{missing}: lost",
                )
            return
        if not second:
            yield WHOLE, f"'{self.n} second' is lost, of which the interrupted call knows nothing"
        if (
            self.verb in ("ack", "cancel", "extend")
            and self.returned
            and first
            and (self.verb != "extend" or "again" in self.returned)
        ):
            clause = USABLE if "again" in self.returned else WHOLE
            yield clause, f"'{self.n} first' came out, after it was acknowledged that it is gone"
        lost = all_back and self.returns and not first
        if self.verb in ("release", "extend") and lost and "again" not in self.returned:
            yield WHOLE, f"'{self.n} first' did not come out, also when every lease was over"

    def _look_at_acknowledged(self, found: Counter[str], *, all_back: bool) -> Iterator[Said]:
        # A claim that waits at a server may take what is pushed behind its interruption, and has that in hand.
        taken = int(self.verb == "claim_wait" and not all_back)
        for clause, name, became, whose in (
            (FREE, "other", self.others, "another client's push"),
            (USABLE, "after", self.after, "a push after the interruption"),
            (USABLE, "early", self.early, "a push that was under way"),
            (USABLE, "late", self.late, "a push that was under way"),
        ):
            work = f"{self.n} {name}"
            number = found[work_text(work)]
            if became == "returned" and number < 1:
                if name in ("early", "late") and self.claims and not all_back:
                    continue  # the claim may have it in hand
                if name in ("other", "after") and taken:
                    taken -= 1
                    continue
                yield clause, f"{work!r}, {whose}, was acknowledged, and is not kept"
            elif number > (1 if became else 0):
                yield WHOLE, f"{work!r} came out {_times(number)}"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _of(times: list[int]) -> str:
    return ", ".join(f"item {i} {_times(number)}" for i, number in enumerate(times))
