"""A harness for litequeue (https://pypi.org/project/litequeue/), by the version that is installed.

It comes with the suite, so that `lowq check litequeue` needs no file. The code, with the source of each promise, is
in lowq_conformance/queues/peers/litequeue.py: a queue whose claimed message is settled by its id. Check it from here
with `lowq check examples/lite_queue.py:LiteQueue`.
"""

from __future__ import annotations

from lowq_conformance.queues.peers import litequeue

LiteQueue = litequeue.Installed

__all__ = ["LiteQueue"]
