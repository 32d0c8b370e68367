"""What keeps the queue of one place, as the harness gives it, and the suite's proxy on the way there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lowq_conformance.contract.harness import brings
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.contract.promises import BrokenHarness, check_server_names
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.support.proxy import BadAddress, Proxy
from lowq_conformance.support.signatures import keywords
from lowq_conformance.support.text import describe_error


class ServedPlace:
    """A server that may be stopped, and the proxy before it where it tells its address.

    Where the harness has no way to stop it, whoever goes through the proxy finds nobody there.
    """

    def __init__(self, subject: UnderTest, place: Path) -> None:
        self._subject, self.place = subject, place
        harness = subject.harness
        self._server: Any = self._result("server", lambda: harness.server(place))
        address = self._server if isinstance(self._server, str) else getattr(self._server, "address", None)
        if not isinstance(self._server, str):
            check_server_names(self._server, subject.target)
        if address is None and not (self.has("restart") or self.has("freeze")):
            raise self._wrong(f"expected an address, or something with address, restart or freeze, got {address!r}")
        if self.has("kill") and not self.has("restart"):
            raise self._wrong("it has kill, and no restart")
        if self.has("freeze") != self.has("thaw"):
            raise self._wrong("it has one of freeze and thaw, and not the other")
        self.proxy: Proxy | None = None
        self._folder: str | None = None
        self._killed = self._frozen = self._down = False
        if address is None:
            return
        if not takes_address(harness.open):
            raise self._wrong("it tells an address, and open takes no address=")
        self._folder = tempfile.mkdtemp(prefix="lowq-px-", dir="/tmp")  # a socket's path is to be short
        try:
            self.proxy = Proxy(self._address, self._folder)
        except (BadAddress, OSError) as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise self._wrong(f"address: {error}") from error

    def has(self, method: str) -> bool:
        """Whether the server of the harness can do that."""
        return not isinstance(self._server, str) and brings(self._server, method)

    def need_proxy(self) -> Proxy:
        """The proxy. Raises NotPromised where there is none."""
        if self.proxy is None:
            raise NotPromised("its server tells no address")
        return self.proxy

    def address(self, *, proxied: bool = True) -> str | None:
        """Where a client connects to that goes through the proxy, where there is one; None: as it likes."""
        return self.proxy.address if proxied and self.proxy is not None else None

    def go_away(self) -> None:
        """Nobody answers: the server was killed, or where it cannot be, the way through the proxy is cut off."""
        if self.has("kill"):
            self._do("kill")
            self._killed = True
        else:
            proxy = self.need_proxy()
            self._note("the server is away")
            proxy.down()
            self._down = True

    def come_back(self) -> None:
        """The server answers again."""
        if self._killed:
            self._do("restart")
            self._killed = False
        elif self._down and self.proxy is not None:
            self._note("the server is there again")
            self.proxy.up()
            self._down = False

    def restart(self) -> None:
        """The server was away for a moment, and answers again over what it kept."""
        if self.has("restart"):
            self._do("restart")
        else:
            self.go_away()
            self.come_back()

    def stand_still(self) -> None:
        """Nothing answers any more, and nothing is closed."""
        if self.has("freeze"):
            self._do("freeze")
            self._frozen = True
        else:
            self._note("the connections are left half open")
            self.need_proxy().swallows = True

    def go_on(self) -> None:
        """What stood still goes on."""
        if self._frozen:
            self._do("thaw")
            self._frozen = False
        if self.proxy is not None and self.proxy.swallows:
            self._note("connections are passed on again")
            self.proxy.swallows = False
            self.proxy.plan(None)

    def restore(self) -> None:
        """The server answers, whatever was done to it."""
        self.go_on()
        self.come_back()

    def close(self) -> None:
        """The proxy is gone."""
        if self.proxy is not None:
            self.proxy.close()
            self.proxy = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self) -> str:
        return self._server if isinstance(self._server, str) else str(self._server.address)

    def _do(self, method: str) -> None:
        call = self._subject.journal.begin(f"server.{method}()")
        self._result(method, getattr(self._server, method))
        self._subject.journal.end(call, "")

    def _note(self, what: str) -> None:
        self._subject.journal.note(what)

    def _result(self, method: str, call: Any) -> Any:
        try:
            return self._subject.loop(self.place).result(call())
        except Exception as error:
            if isinstance(error, BrokenHarness):
                raise
            raise BrokenHarness(f"{self._subject.target}: {method} {describe_error(error)}") from error

    def _wrong(self, said: str) -> BrokenHarness:
        return BrokenHarness(f"{self._subject.target}: server: {said}")


def takes_address(method: Any) -> bool:
    """Whether the harness's method takes the keyword `address`."""
    known = keywords(method)
    return known is None or "address" in known
