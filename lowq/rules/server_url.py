"""URLs that name a server, perhaps with a user and a password: how they are shown, and which are one place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import unquote, urlencode

SECRETS = frozenset(("token", "password", "sslpassword", "passwd", "oauth_client_secret"))
"""Options of a URL that nobody is to read."""

_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#@:]*):(?P<password>.*)@", re.DOTALL)
_FORGOTTEN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>(?!\[)[^/?#@:]*):(?!\d{0,5}(?:[/?#,]|$))[^@]*$", re.DOTALL
)
"""A user and a password, or what may be one, where the @ and the host are missing."""
_OPTION = re.compile(rf"(?i)(?P<name>[?&](?:{'|'.join(sorted(SECRETS))})=)[^&]*")


def hide_password(url: str) -> str:
    """The text for a message: with ``…`` for a password, also in a URL that is none, and for secret options.

    What stands between the first colon behind ``://`` and the last ``@`` may be a password, whatever it holds;
    without an ``@``, whatever is no port.
    """
    shown = _FORGOTTEN.sub(r"\g<scheme>\g<user>:…", _USER.sub(r"\g<scheme>\g<user>:…@", url))
    return _OPTION.sub(r"\g<name>…", shown)


def hide_passwords(text: str) -> str:
    """A text in which each word that is a URL is shown as `hide_password` shows it."""
    return _WORD.sub(lambda word: hide_password(word[0]), text) if "://" in text else text


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\")]+")


def split_user(place: str) -> tuple[str, str | None, str]:
    """The user, the password, and the rest of what stands behind ``://``: ``alice:secret@host/jobs``.

    Both are decoded; the password is None where there is none.
    """
    user, at, rest = place.rpartition("@")
    if not at:
        return "", None, place
    name, colon, password = user.partition(":")
    return unquote(name), unquote(password) if colon else None, rest


def identity_of(place: str, port: int, options: Iterable[tuple[str, str]], telling: Collection[str]) -> str:
    """What all URLs of one place have in common, whoever uses it; `telling` are the options that say where it is.

    `port` is the one that stands where none is named.
    """
    host, slash, path = split_user(place)[2].partition("/")
    hosts = [f"{each}:{port}" if not re.search(r":\d+$", each) else each for each in host.lower().split(",")]
    told = sorted((name, value) for name, value in options if name in telling)
    return f"{','.join(hosts)}{slash}{unquote(path)}{'?' if told else ''}{urlencode(told)}"
