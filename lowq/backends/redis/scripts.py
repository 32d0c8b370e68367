"""The verbs as Lua scripts, each put together of its file and the parts that the file's first line names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

_NEEDS = "-- needs:"


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name under which a server that has run it knows it."""

    name: str
    text: bytes
    digest: bytes


@cache
def script(name: str) -> Script:
    """The script of that verb, as one text."""
    own = _read(name)
    head = own.partition("\n")[0]
    parts = head.removeprefix(_NEEDS).split() if head.startswith(_NEEDS) else []
    text = "\n".join([*(_read(part) for part in parts), own]).encode()
    return Script(name, text, sha1(text, usedforsecurity=False).hexdigest().encode())


def _read(name: str) -> str:
    return files("lowq.backends.redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
