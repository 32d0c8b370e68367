"""A server of the tests that may be stopped by the suite, for places that are on no other."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Runs(Protocol):
    """A server that was started."""

    def start(self) -> None:
        """It answers; it was killed before."""
        ...

    def restart(self) -> None:
        """It was told to end, and answers again."""
        ...

    def kill(self) -> None:
        """It was killed, with all its processes."""
        ...

    def freeze(self) -> None:
        """It stands still."""
        ...

    def thaw(self) -> None:
        """It goes on."""
        ...


S = TypeVar("S", bound=Runs)


class StoppableServer(Generic[S]):
    """What `server` of a harness gives: the server, and the address that clients have of it."""

    def __init__(self, server: S, address: str) -> None:
        self.server, self.address, self._runs = server, address, True

    def restart(self) -> None:
        """It was told to end, unless it was killed, and answers again."""
        if self._runs:
            self.server.restart()
        else:
            self.server.start()
        self._runs = True

    def kill(self) -> None:
        """It was killed, with all its processes."""
        self.server.kill()
        self._runs = False

    def freeze(self) -> None:
        """It stands still."""
        self.server.freeze()

    def thaw(self) -> None:
        """It goes on."""
        self.server.thaw()
