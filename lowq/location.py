"""A path or URL to an opened backend; the only module that knows which backends there are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from lowq.backend import Backend, Dedupe, InvalidLocation, LowqError
from lowq.beside import true_path
from lowq.clock import Clock
from lowq.excerpt import excerpt
from lowq.process.handlers import let_through
from lowq.rules.options import flag_of
from lowq.rules.server_url import SECRETS, hide_password, identity_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lowq.rules.damage import Finding

_BACKENDS = {
    "sqlite": ("lowq.backends.sqlite.backend", "SQLiteBackend"),
    "files": ("lowq.backends.files.backend", "FilesBackend"),
    "memory": ("lowq.backends.memory.backend", "MemoryBackend"),
    "http": ("lowq.backends.http.backend", "HTTPBackend"),
    "https": ("lowq.backends.http.backend", "HTTPSBackend"),
    "redis": ("lowq.backends.redis.backend", "RedisBackend"),
    "rediss": ("lowq.backends.redis.backend", "RedisTLSBackend"),
    "redis+unix": ("lowq.backends.redis.backend", "RedisSocketBackend"),
    "postgresql": ("lowq.backends.postgres.backend", "PostgresBackend"),
}

_ALIASES = {
    "postgres": "postgresql",
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "redis+unix",
    "unix": "redis+unix",
}
_SCHEMES = frozenset({*_BACKENDS, *_ALIASES})

_SERVERS = {
    "redis": (6379, ("db", "prefix")),
    "rediss": (6379, ("db", "prefix")),
    "redis+unix": (0, ("db", "prefix")),
    "postgresql": (5432, ("host", "hostaddr", "port", "dbname", "service", "schema")),
}
"""The kinds whose places name a server, perhaps with a user and a password: its usual port, and the options that say
where it is. Such a place stays as the URL has it, with what is escaped in it."""

_VERIFIERS = {"sqlite": "lowq.backends.sqlite.verify"}
"""The modules that look whether a place of that kind is whole."""

_COMPACTERS = {"sqlite": "lowq.backends.sqlite.room"}
"""The modules that make a place of that kind as small as it can be."""

_EXAMPLES = {"sqlite": "/var/lib/jobs.db", "files": "/var/lib/jobs"}
"""The kinds whose places are paths, each with one."""

_BESIDE_URL = "; it is no part of the URL: say {0}=… to open_backend or to the queue"
_MEANT = {
    **dict.fromkeys(("timeout", "busytimeout", "connecttimeout"), "; did you mean patience?"),
    **dict.fromkeys(("sync", "synchronous", "fsync"), "; did you mean durability?"),
    **{word: _BESIDE_URL.format(word) for word in ("name", "dedupe", "clock")},
    "queue": _BESIDE_URL.format("name"),
}
"""What an option of a URL may have meant that resembles none."""

_SAFE_IN_PLACE = "/:[]"

_LOOKS_CUT = re.compile(r"[^@/\[]*:[^@/]*[^0-9@/,:]")
"""A place of a server that ends within a password: behind its colon stands no port."""

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True, slots=True, repr=False)
class Location:
    """Where a queue is kept: a scheme of `_BACKENDS`, the place within it, and the options of the URL.

    As text it is the URL; tokens and passwords are left out.
    """

    scheme: str
    place: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.scheme == "sqlite" and not self.options and "://" not in self.place:
            return self.place
        from urllib.parse import quote, urlencode

        safe = [(name, "…" if name in SECRETS else value) for name, value in self.options]
        options = urlencode(safe, safe=_SAFE_IN_PLACE + "…")
        place = self.place if self.scheme in _SERVERS else quote(self.place, safe=_SAFE_IN_PLACE)
        return hide_password(f"{self.scheme}://{place}{'?' if options else ''}{options}")

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    def beside(self, kind: str, name: str) -> Path:
        """The file of that kind (``lock``, ``next``, ``log``, ``bell``) that goes with the queue `name` kept here.

        A server has no place for it: then it stands in this user's state folder, which is made where it is missing.
        """
        if self.scheme == "files":
            return inside(true_path(self.place), kind, name)
        if self.scheme in ("http", "https", *_SERVERS):
            return beside(str(_state_folder() / _digest(self.identity)), kind, name)
        return beside(true_path(self.place), kind, name)

    @property
    def identity(self) -> str:
        """What all locations of one place have in common, whichever link leads to it."""
        if self.scheme in _SERVERS:
            port, telling = _SERVERS[self.scheme]
            place, options = self.place, self.options
            if self.scheme.startswith("redis"):  # where no database is named it is 0
                place = place if port == 0 else place.removesuffix("/").removesuffix("/0")
                options = tuple(pair for pair in options if pair != ("db", "0"))
            return f"{self.scheme}:{identity_of(place, port, options, telling)}"
        return f"{self.scheme}:{true_path(self.place) if self.scheme in ('sqlite', 'files') else self.place}"


def beside(database: str, kind: str, name: str) -> Path:
    """``jobs.db-lock`` for the queue ``default``; every other name has a file of its own."""
    from pathlib import Path

    return Path(f"{database}-{kind}" if name == "default" else f"{database}-{kind}.{_file_name(name)}")


def inside(directory: str, kind: str, name: str) -> Path:
    """``.lowq/worker-lock`` in the directory of the queue: for ``default`` the location's own."""
    from pathlib import Path

    return Path(folder_of(directory, name), ".lowq", f"worker-{kind}")


def folder_of(directory: str, name: str) -> str:
    """The directory of the queue `name` that is kept in a directory: that itself for ``default``."""
    return directory if name == "default" else os.path.join(directory, "queues", _file_name(name))


def _file_name(name: str) -> str:
    """A file's name for the name of a queue, another one for each, on every file system."""
    if len(name) <= 40 and _SAFE.issuperset(name):
        return name
    return _digest(name)  # longer than any name that is safe


def _digest(text: str) -> str:
    from hashlib import blake2b

    return blake2b(text.encode(), digest_size=21).hexdigest()


def _state_folder() -> Path:
    """``~/.local/state/lowq``, or where XDG_STATE_HOME says."""
    from pathlib import Path

    home = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/state")) / "lowq"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def locate(location: str | os.PathLike[str] | Location) -> Location:
    """Read a path or URL: ``jobs.db``, ``sqlite:///var/lib/jobs.db?durability=process``, ``files:///var/lib/jobs``.

    Raises InvalidLocation where it is neither.
    """
    try:
        return _read(location)
    except InvalidLocation as error:
        # What reports errors may show what stands in their frames: a password must not.
        location = "…"
        raise error.with_traceback(None)  # noqa: B904  # it is the same error


def _read(location: str | os.PathLike[str] | Location) -> Location:
    if isinstance(location, Location):
        return location
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(f"location: expected a path or URL, got {type(location).__name__}")
    try:
        text = os.fspath(location)
    except TypeError as error:
        let_through(error)
        raise TypeError(f"location: expected a path or URL, got {type(location).__name__}: {error}") from None
    if not isinstance(text, str):
        raise TypeError("location: expected a path of text, got bytes")
    if not text or "\0" in text or not _is_path(text):
        raise InvalidLocation(f"location: expected a path or URL, got {excerpt(hide_password(text))}")
    scheme, separator, rest = text.partition("://")
    meant, colon, rest_of_it = text.partition(":")
    if isinstance(location, str) and colon and meant.lower() in _SCHEMES and not rest_of_it.startswith("//"):
        raise InvalidLocation(  # and not what stands behind it, which may be a password
            f"location: {meant}:…: a URL begins with {meant.lower()}://; a file of such a name is ./{meant}:…"
        )
    if not separator or isinstance(location, os.PathLike):
        return Location("sqlite", os.path.abspath(os.path.expanduser(text)))
    scheme, shown = _ALIASES.get(scheme, scheme), hide_password(text)
    if scheme not in _BACKENDS:
        known = ", ".join(f"{name}://" for name in _BACKENDS)
        raise InvalidLocation(f"location: {shown!r}: unknown kind of queue {scheme!r}; known are a path, {known}")
    from urllib.parse import parse_qsl, unquote

    place, _, query = rest.partition("?")
    if "\0" in unquote(place):
        raise InvalidLocation(f"location: expected a path or URL, got {excerpt(hide_password(text))}")
    if scheme not in _SERVERS:
        place = unquote(place)
    elif "@" in query and _LOOKS_CUT.match(place):
        raise InvalidLocation(f"location: {shown!r}: in a user or password write %3F for ?")
    if scheme in _EXAMPLES and not place.startswith("/"):
        raise InvalidLocation(
            f"location: {shown!r}: a {scheme} URL has an absolute path: {scheme}://{_EXAMPLES[scheme]}"
        )
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        let_through(error)
        query = "" if "@" in query else hide_password(f"?{query}")[1:]  # an unescaped ? of a password
        raise InvalidLocation(f"location: {shown!r}: expected ?option=value&…, got {query!r}") from None
    if twice := [name for name, value in options if dict(options)[name] != value]:
        raise InvalidLocation(f"location: {shown!r}: the option {twice[0]!r} is said twice, with two values")
    return Location(scheme, place, tuple(options))


def _is_path(text: str) -> bool:
    """Whether the system's names can hold the text, which may have bytes of a name that are none (PEP 383)."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        let_through(error)
        return False
    return True


def verify(location: str | os.PathLike[str] | Location) -> list[Finding]:
    """What is wrong in the storage at a path or URL, and nothing where it is whole; nothing is written.

    Raises InvalidLocation where there is no queue, or where a queue of that kind cannot be looked at so.
    """
    where = locate(location)
    if where.scheme not in _VERIFIERS:
        raise InvalidLocation(
            f"location: {where}: a queue of this kind has no file to verify; {'; '.join(_VERIFIERS)}"
        )
    found: list[Finding] = import_module(_VERIFIERS[where.scheme]).verify(where.place, shared=is_shared(where))
    return found


def compact(location: str | os.PathLike[str] | Location, *, rewrite: bool = False) -> tuple[int, int]:
    """The storage at a path or URL keeps no room that it does not use; its bytes before and after.

    Raises InvalidLocation where there is no queue, where `rewrite` is needed, and for other kinds of queues.
    """
    where = locate(location)
    if where.scheme not in _COMPACTERS:
        raise InvalidLocation(
            f"location: {where}: a queue of this kind has no file to compact; {'; '.join(_COMPACTERS)}"
        )
    if is_shared(where):
        raise InvalidLocation(f"{where}: the file is the application's, and so is its room: VACUUM makes it smaller")
    sizes: tuple[int, int] = import_module(_COMPACTERS[where.scheme]).compact(where.place, rewrite=rewrite)
    return sizes


def is_shared(where: Location) -> bool:
    """Whether the queue is beside the tables of an application, in a file of the application's."""
    return flag_of(dict(where.options).get("shared", False), "shared")


def open_backend(
    location: str | os.PathLike[str] | Location,
    *,
    name: str = "default",
    dedupe: Dedupe | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> Backend:
    """A client of the queue `name` kept at a path or URL; the queue is made where it is new.

    `dedupe` None takes the queue as it was made (``until_done`` where it is new); another value than it was made
    with raises InvalidLocation. `options` are the backend's own, and may also stand in the URL.
    """
    try:
        return _open(locate(location), name, dedupe, clock, options)
    except LowqError as error:
        # What reports errors may show what stands in their frames: a password must not.
        location, options = "…", {}
        raise error.with_traceback(None)  # noqa: B904  # it is the same error


def _open(
    where: Location, name: str, dedupe: Dedupe | None, clock: Clock | None, options: Mapping[str, Any]
) -> Backend:
    module, attribute = _BACKENDS[where.scheme]
    backend = getattr(import_module(module), attribute)
    all_options = {**dict(where.options), **options}
    if unknown := sorted(set(all_options) - set(backend.OPTIONS)):
        from lowq.rules.spelling import plain, suggest  # here, since only a misspelt program needs it

        hint = _MEANT.get(plain(unknown[0])) or suggest(unknown[0], backend.OPTIONS)
        raise InvalidLocation(
            f"location: {where}: unknown option {unknown[0]!r}; {where.scheme} knows "
            f"{', '.join(backend.OPTIONS) or 'none'}{hint}"
        )
    return cast(Backend, backend(where.place, name=name, dedupe=dedupe, clock=clock, **all_options))
