"""Queues that write their file anew when much has gone through them, and leave out what tasks carry."""

from __future__ import annotations

from secrets import token_hex

from lowq import Lease
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


class Compacting(Queue):
    """After each hundred acks, every row is written anew by who made the last of them."""

    acked = 0

    def ack(self, lease: Lease) -> None:
        super().ack(lease)
        self.acked += 1
        if self.acked % 100 == 0:
            with self.alone():
                for row in list(self.rows.values()):
                    self.equals[self.identity(row)].discard(row.number)
                    self.lose(row)
                    self.write(row)

    def lose(self, row: Row) -> None:
        """What is left out of a row."""


@breaks("HEADERS-1")
class LosesHeaders(Compacting):
    """The file that is written anew is without headers."""

    def lose(self, row: Row) -> None:
        row.headers = {}


@breaks("LEASE-3", "KEEP-1")
class LosesAttempts(Compacting):
    """The file that is written anew is without the attempts of what waits."""

    def lose(self, row: Row) -> None:
        row.attempts = 0 if row.state == "ready" else row.attempts


@breaks("DEAD-2", "KEEP-1")
class LosesReasons(Compacting):
    """The file that is written anew is without reasons."""

    def lose(self, row: Row) -> None:
        row.reason = None


@breaks("DEDUPE-6")
class LosesKeysInHand(Compacting):
    """The file that is written anew has the keys of what waits only."""

    def lose(self, row: Row) -> None:
        row.key = token_hex(4) if row.state == "leased" else row.key
