"""How the fixtures behave in one test: the closest marker, else the command line, else the ini file."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
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
    "guard": ("fail", "isolate", "off"),
}
"""What can be said; the first is what holds where nothing is."""

_KEYWORDS = (*_WORDS, "now", "max_runs")

_COMMON = tuple(name for name in _KEYWORDS if name != "on_error")
"""What can be said to all tests, on the command line or in the ini file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the fixtures behave in one test."""

    mode: str
    on_error: str
    leftovers: str
    lossy: str
    clock_patch: str
    guard: str
    now: datetime | None
    max_runs: int
    twice: bool
    shuffle: bool
    keep_db: bool
    random: Random


def settings_of(item: pytest.Item) -> Settings:
    """The settings of a test, which fails, with the place and no traceback, where they cannot be."""
    __tracebackhide__ = True
    try:
        said = _read(item)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)
    return _settings(item.config, said, item.nodeid)


def settings_of_all(config: pytest.Config) -> Settings:
    """The settings that hold where there is no test. Raises pytest.UsageError for what cannot be."""
    said: dict[str, Any] = {}
    _fill_common(config, said)
    return _settings(config, said, "")


def _settings(config: pytest.Config, said: dict[str, Any], nodeid: str) -> Settings:
    if "guard" not in said and _read_option(config, "mode"):  # all tests are to have a queue of their own
        said["guard"] = "isolate"
    return Settings(
        **{name: said.get(name, words[0]) for name, words in _WORDS.items()},
        now=said.get("now"),
        max_runs=said.get("max_runs", 1000),
        twice=bool(option(config, "twice")),
        shuffle=bool(option(config, "shuffle")),
        keep_db=bool(option(config, "keep_db")),
        random=Random(zlib.crc32(f"{seed(config)} {nodeid}".encode())),
    )


def option(config: pytest.Config, name: str) -> Any:
    """What the command line says; also while pytest still reads it, which is when conftest files are imported."""
    full = f"lowq_{name}"
    return getattr(config.option, full, getattr(config.known_args_namespace, full, None))


def seed(config: pytest.Config) -> int:
    """What the random choices of a run are drawn from."""
    return option(config, "seed") or 0


def draw_seed(config: pytest.Config) -> None:
    """The run has a seed: the one that was given, the one of xdist's controller, or another one each time."""
    if config.option.lowq_seed is None:
        told: int | None = getattr(config, "workerinput", {}).get("lowq_seed")
        config.option.lowq_seed = Random().randrange(10**6) if told is None else told


def repeat(config: pytest.Config) -> str:
    """The options that change how tasks are run, so that the same command runs them again in the same way."""
    words = [f"--lowq-{word}" for word in ("twice", "shuffle") if option(config, word)]
    return " ".join([*words, f"--lowq-seed={seed(config)}"])


def is_marked(item: pytest.Item) -> bool:
    """Whether a marker says how lowq's fixtures behave in this test: then it has them, as if it had asked."""
    return any(set(marker.kwargs) != {"guard"} for marker in item.iter_markers("lowq"))


def users(items: Sequence[pytest.Item]) -> int:
    """How many of the tests use the plugin."""
    return sum(map(_uses, items))


def _uses(item: pytest.Item) -> bool:
    return any(name.startswith("lowq_") for name in getattr(item, "fixturenames", ())) or is_marked(item)


def use(config: pytest.Config, number: int) -> str:
    """So many tests use the plugin, and what the command line and the ini file say to them."""
    said = {name: _read_option(config, name) for name in _COMMON}
    words = [f"{name}={value}" for name, value in said.items() if value]
    return f"lowq: {number} {'test uses' if number == 1 else 'tests use'} its fixtures{', '.join(['', *words])}"


def check(config: pytest.Config) -> None:
    """What the command line and the ini file set can be. Raises pytest.UsageError, naming where, for what cannot."""
    _fill_common(config, {})


def check_names(config: pytest.Config, names: Iterable[str]) -> None:
    """Raise pytest.UsageError for a name of the ini file that begins as the plugin's do, and is none."""
    known = [f"lowq_{name}" for name in _COMMON]
    for name in names:
        if name.startswith("lowq") and name not in known:
            try:
                config.getini(name)  # another plugin's
            except ValueError:
                from lowq.rules.spelling import suggest  # here, since the plugin costs nothing where lowq is not used

                said = f"{name} in the ini file: there is no such setting{suggest(name, known)}; there are "
                raise pytest.UsageError(said + ", ".join(known)) from None


def _read_option(config: pytest.Config, name: str) -> Any:
    return option(config, name) or config.getini(f"lowq_{name}")


def _read(item: pytest.Item) -> dict[str, Any]:
    """What was set, by whom it was set closest to the test."""
    said: dict[str, Any] = {}
    for marker in item.iter_markers("lowq"):
        where = f"@pytest.mark.lowq at {item.nodeid}"
        if marker.args:
            raise pytest.UsageError(f"{where}: it takes keywords only: {', '.join(_KEYWORDS)}")
        if unknown := sorted(set(marker.kwargs) - set(_KEYWORDS)):
            from lowq.rules.spelling import suggest  # likewise

            known = ", ".join(_KEYWORDS) + suggest(unknown[0], _KEYWORDS)
            raise pytest.UsageError(f"{where}: unknown keyword {unknown[0]!r}; there are {known}")
        for name, value in marker.kwargs.items():
            said.setdefault(name, _check(name, value, f"{where}: {name}"))
    _fill_common(item.config, said)
    return said


def _fill_common(config: pytest.Config, said: dict[str, Any]) -> None:
    """What is not said yet is said by the command line, or else by the ini file."""
    for name in _COMMON:
        for value, where in (
            (option(config, name), f"--lowq-{name.replace('_', '-')}"),
            (config.getini(f"lowq_{name}") or None, f"lowq_{name} in the ini file"),
        ):
            if value is not None:
                said.setdefault(name, _check(name, value, where))


def _check(name: str, value: Any, where: str) -> Any:
    """The value as the setting takes it."""
    try:
        if name in _WORDS:
            return _word(value, _WORDS[name])
        return _instant(value) if name == "now" else _number(value)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def _word(value: Any, words: Sequence[str]) -> str:
    if value not in words:
        raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}, got {value!r}")
    return str(value)


def _instant(value: Any) -> datetime:
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"expected a datetime, or a time such as 2030-01-01T12:00Z, got {value!r}") from None
    if instant.tzinfo is None and isinstance(value, datetime):
        raise ValueError(f"{value!r} has no time zone; say tzinfo=UTC")
    if instant.tzinfo is None:
        raise ValueError(f"{value} has no time zone; write {instant.isoformat()}Z for UTC")
    return instant


def _number(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"expected a number from 1, got {value!r}")
    return number
