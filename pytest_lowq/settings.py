"""How the fixtures behave in one test: the closest marker, else the command line, else the ini file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import pytest

_WORDS: Mapping[str, tuple[str, ...]] = {
    "mode": ("manual", "inline", "live"),
    "on_error": ("raise", "record"),
    "leftovers": ("allow", "fail"),
    "lossy": ("warn", "strict"),
    "clock_patch": ("freezegun", "time-machine", "none"),
}
"""What can be said; the first is what holds where nothing is."""

_KEYWORDS = (*_WORDS, "now", "max_runs")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the fixtures behave in one test."""

    mode: str
    on_error: str
    leftovers: str
    lossy: str
    clock_patch: str
    now: datetime | None
    max_runs: int
    twice: bool
    shuffle: bool
    keep_db: bool
    random: Random


def settings_of(item: pytest.Item) -> Settings:
    """The settings of a test. Raises pytest.UsageError, naming where, for what cannot be set so."""
    said = _said(item)
    config = item.config
    return Settings(
        **{name: said.get(name, words[0]) for name, words in _WORDS.items()},
        now=said.get("now"),
        max_runs=said.get("max_runs", 1000),
        twice=config.getoption("lowq_twice"),
        shuffle=config.getoption("lowq_shuffle"),
        keep_db=config.getoption("lowq_keep_db"),
        random=Random(zlib.crc32(f"{seed(config)} {item.nodeid}".encode())),
    )


def seed(config: pytest.Config) -> int:
    """What the random choices of a run are drawn from: `--lowq-seed`, else 0."""
    return config.getoption("lowq_seed", None) or 0


def header(config: pytest.Config) -> str:
    """The options that change how tasks are run."""
    words = [f"--lowq-{word}" for word in ("twice", "shuffle") if config.getoption(f"lowq_{word}")]
    return f"lowq: {' '.join(words)} --lowq-seed={seed(config)}"


def use(config: pytest.Config, users: int) -> str:
    """How many tests use the plugin, and what the command line and the ini file say to them."""
    said = {
        name: config.getoption(f"lowq_{name}", None) or config.getini(f"lowq_{name}")
        for name in _KEYWORDS
        if name != "on_error"
    }
    words = [f"{name}={value}" for name, value in said.items() if value]
    return f"lowq: {users} {'test uses' if users == 1 else 'tests use'} its fixtures{', '.join(['', *words])}"


def _said(item: pytest.Item) -> dict[str, Any]:
    """What was set, by whom it was set closest to the test."""
    said: dict[str, Any] = {}
    for marker in item.iter_markers("lowq"):
        where = f"@pytest.mark.lowq at {item.nodeid}"
        if marker.args:
            raise pytest.UsageError(f"{where}: it takes keywords only: {', '.join(_KEYWORDS)}")
        if unknown := sorted(set(marker.kwargs) - set(_KEYWORDS)):
            raise pytest.UsageError(f"{where}: unknown keyword {unknown[0]!r}; there are {', '.join(_KEYWORDS)}")
        for name, value in marker.kwargs.items():
            said.setdefault(name, _checked(name, value, where))
    for name in _KEYWORDS:
        if name == "on_error":
            continue
        for value, where in (
            (item.config.getoption(f"lowq_{name}", None), f"--lowq-{name.replace('_', '-')}"),
            (item.config.getini(f"lowq_{name}") or None, f"ini value lowq_{name}"),
        ):
            if value is not None:
                said.setdefault(name, _checked(name, value, where))
    return said


def _checked(name: str, value: Any, where: str) -> Any:
    """The value as the setting takes it."""
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise pytest.UsageError(f"{where}: {name}: expected {' or '.join(_WORDS[name])}, got {value!r}")
        return value
    try:
        return _instant(value) if name == "now" else _number(value)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {name}: {error}") from None


def _instant(value: Any) -> datetime:
    instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if instant.tzinfo is None:
        raise ValueError(
            f"{value} has no time zone; write {value}Z for UTC"
            if isinstance(value, str)
            else f"{value} has no time zone"
        )
    return instant


def _number(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(f"expected 1 or more, got {value}")
    return number
