"""Harnesses for persist-queue's SQLiteAckQueue and UniqueQ (https://pypi.org/project/persist-queue/).

They come with the suite, so that `lowq check persist-queue-ack persist-queue-unique` needs no file. The code, with
the source of each promise, is in lowq_conformance/queues/peers/persist_queue.py: a queue whose clients share one
object in a process, and whose `claim` and `ack` are `get` and `ack`. Check them from here with
`lowq check examples/persist_queue.py:AckQueue examples/persist_queue.py:UniqueQ`.
"""

from __future__ import annotations

from lowq_conformance.queues.peers.persist_queue import AckQueue, UniqueQ

__all__ = ["AckQueue", "UniqueQ"]
