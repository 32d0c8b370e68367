"""What a server's errors mean to the caller, in errors of ours that say what to do and never hold a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowq.backend import BackendUnavailable, CorruptQueue, InvalidLocation, LowqError, NotAllowed

if TYPE_CHECKING:
    from lowq.backends.redis.address import Address

RIGHTS = "+@read +@write +@scripting +@connection +blpop +time +info +config|get"
"""What a user of a queue may do, as the rules of an ACL say it."""


class Away(Exception):
    """There is no server to use now, and there may be one in a moment; says why."""


class Moved(Exception):
    """Another node of the cluster has the queue."""

    def __init__(self, host: str, port: int, *, asking: bool) -> None:
        super().__init__(host, port)
        self.host, self.port, self.asking = host, port, asking


def translate(error: Exception, address: Address, *, opening: bool, patterns: str) -> Exception:
    """The error of ours, Away or Moved, that an error of redis-py means; `patterns` are the keys that are ours."""
    from redis import exceptions

    text = " ".join(str(error).split())
    refused = InvalidLocation if opening else BackendUnavailable
    if isinstance(error, exceptions.AskError):  # MovedError is one of them, too
        return Moved(error.host, error.port, asking=not isinstance(error, exceptions.MovedError))
    if _means_login(error, text):
        return refused(f"{address}: {_login_words(address, text)}")
    if isinstance(error, exceptions.NoPermissionError) or "NOPERM" in text or "permission" in text.lower():
        return NotAllowed(
            f"{address}: the user {address.user or 'default'!r} has not the rights that a queue needs ({text[:160]});"
            f" give them: ACL SETUSER {address.user or 'default'} {patterns} {RIGHTS}"
        )
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM command" in text:
        return BackendUnavailable(
            f"{address}: the server is full (maxmemory), and nothing was written; take tasks out, or raise maxmemory"
        )
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY" in text:
        return BackendUnavailable(f"{address}: this server is a read-only replica; name its primary")
    if "WRONGTYPE" in text:
        return CorruptQueue(f"{address}: a key of the queue holds something else than lowq wrote; look at {patterns}")
    if "MISCONF" in text:
        return BackendUnavailable(f"{address}: the server cannot write to its disk, and refuses changes until it can")
    if "DB index is out of range" in text or "invalid DB index" in text or "SELECT is not allowed" in text:
        return InvalidLocation(f"{address}: the server has no database {address.db}; 0 is always there")
    if isinstance(error, exceptions.InvalidResponse):
        return InvalidLocation(f"{address}: another program answers there; expected a Redis or Valkey server")
    if any(word in text for word in _PERMANENT):
        return InvalidLocation(
            f"{address}: TLS fails: {text[:200]}; redis:// is without TLS, ca=… names a file to trust"
        )
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return Away(_away_words(error, text))
    if isinstance(error, exceptions.ResponseError) and text.split(" ", 1)[0].rstrip(":") in _PASSING:
        return Away(text[:160])
    if "LOADING" in text or "loading the dataset" in text or "BUSY" in text or "MASTERDOWN" in text:
        return Away(text[:160])
    return BackendUnavailable(f"{address}: the server refuses: {text[:200]}")


_PASSING = ("LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED", "Hash")
_PERMANENT = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL")


def _means_login(error: Exception, text: str) -> bool:
    from redis import exceptions

    return isinstance(error, exceptions.AuthenticationError) or any(
        word in text for word in ("NOAUTH", "WRONGPASS", "invalid password", "Client sent AUTH")
    )


def _login_words(address: Address, text: str) -> str:
    if "without any password" in text or "no password is set" in text:
        return "a password was given, and the server asks for none; leave it out"
    if address.password is None:
        return "the server asks for a password; give it in the URL, redis://user:password@host, or as password="
    return "the password, or the user, is wrong"


def _away_words(error: Exception, text: str) -> str:
    if "timed out" in text.lower() or "timeout" in text.lower():
        return "nothing came in time"
    if "closed by server" in text.lower():
        return "it closed the connection"
    for word in ("Connection refused", "No such file or directory", "Connection reset by peer", "Broken pipe"):
        if word in text:
            return word
    return (text.rstrip(".") or type(error).__name__)[:200]


def unavailable(address: Address, why: object) -> LowqError:
    """What is said when patience is over."""
    hint = "; the URL of a server without TLS is redis://" if address.kind == "tls" else ""
    return BackendUnavailable(f"{address} does not answer: {why}{hint}")
