"""A sound queue that now and then writes what waits anew, in the transaction in which it acks."""

from __future__ import annotations

import os

from lowq_conformance.queues.sound.journal import Journal, Queue

from lowq import Lease


class Client(Queue):
    """With every fiftieth task its ack writes all that waits anew."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            self.remove(self.held(lease))
            if int(lease.id.rpartition("/")[2]) % 50 == 0:
                assert self.fd is not None
                self.flush(self.fd)
                os.fsync(self.fd)
                for row in self.rows_in("ready"):
                    self.write(row)


class WritesAnew(Journal):
    """Several processes may use it at once."""

    promises = frozenset("fifo lease fenced shared_lease persistent processes json prompt close".split())
    _queue = Client
