"""Other queues in Valkey or Redis, those that are installed; nothing of theirs is imported where they are not."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import redis

from bench.server_clients import Loop, Subject, client_of, nothing, redis_url


class Rq:
    def __init__(self, url: str) -> None:
        queue = import_module("rq").Queue
        logging.getLogger("rq").setLevel(logging.ERROR)
        self._server = redis.Redis.from_url(redis_url(url))
        self._kind: Any = queue
        self._queue = queue("bench", connection=self._server)

    def push(self, work: Any) -> None:
        self._queue.enqueue(nothing, work)

    def push_many(self, new: list[Any]) -> None:
        self._queue.enqueue_many([self._kind.prepare_data(nothing, (work,)) for work in new])

    push_and_wake = push

    def claim(self) -> Any:
        return self._take(None)

    def wait(self) -> Any:
        return self._take(60)

    def _take(self, timeout: int | None) -> Any:
        found = self._kind.dequeue_any([self._queue], timeout, connection=self._server)
        if found is not None:
            _ = found[0].args  # read them
        return None if found is None else found[0]

    def ack(self, claimed: Any) -> None:
        claimed.delete(remove_from_queue=False)

    def drain(self) -> None:
        worker = import_module("rq").SimpleWorker([self._queue], connection=self._server)
        worker.death_penalty_class = import_module("rq.timeouts").TimerDeathPenalty
        # Signals are for a process's main thread, and commands to a worker are none of what is measured.
        worker._install_signal_handlers = worker.subscribe = worker.unsubscribe = nothing
        worker.work(burst=True, logging_level="ERROR")

    def close(self) -> None:
        self._server.close()


class Dramatiq:
    def __init__(self, url: str) -> None:
        dramatiq = import_module("dramatiq")
        logging.getLogger("dramatiq").setLevel(logging.ERROR)

        self._broker = import_module("dramatiq.brokers.redis").RedisBroker(url=redis_url(url))
        self._worker: Any = dramatiq.Worker
        self._actor = dramatiq.actor(nothing, broker=self._broker, actor_name="nothing", queue_name="bench")
        self._waiting = self._broker.consume("bench", prefetch=1, timeout=60_000)

    def push(self, work: Any) -> None:
        self._actor.send(work)

    push_and_wake = push

    def claim(self) -> Any:
        while (found := next(self._waiting)) is None:  # as when it looked for what others left
            pass
        return found

    wait = claim

    def ack(self, claimed: Any) -> None:
        self._waiting.ack(claimed)

    def drain(self) -> None:
        worker = self._worker(self._broker, worker_timeout=100, worker_threads=1)
        worker.start()
        self._broker.join("bench", interval=1)
        worker.stop()

    def close(self) -> None:
        self._waiting.close()
        self._broker.close()


class Huey:
    def __init__(self, url: str) -> None:
        logging.getLogger("huey").setLevel(logging.ERROR)
        self._queue = import_module("huey").RedisHuey(
            "bench", url=redis_url(url), results=False, blocking=True, read_timeout=60
        )
        self._task: Any = self._queue.task(name="nothing")(nothing)

    def push(self, work: Any) -> None:
        self._task(work)

    push_and_wake = push

    def claim(self) -> Any:
        return self._queue.dequeue()

    wait = claim

    def ack(self, claimed: Any) -> None:
        """Taking it has deleted it."""

    def drain(self) -> None:
        for _ in range(self._queue.pending_count()):
            self._queue.execute(self._queue.dequeue())

    def close(self) -> None:
        self._queue.storage.close()


class Arq(Loop):
    """Its worker alone takes tasks."""

    def __init__(self, url: str) -> None:
        super().__init__()
        connections = import_module("arq.connections")
        logging.getLogger("arq").setLevel(logging.ERROR)
        path, _, db = redis_url(url).removeprefix("unix://").partition("?db=")
        self._settings = connections.RedisSettings(unix_socket_path=path, database=int(db or 0))
        self._pool: Any = self.run(connections.create_pool(self._settings))

    def push(self, work: Any) -> None:
        self.run(self._pool.enqueue_job("nothing", work))

    def drain(self) -> None:
        arq = import_module("arq.worker")

        async def no_op(_: Any, work: Any) -> None:
            nothing(work)

        async def work_on() -> None:
            worker = arq.Worker(
                [arq.func(no_op, name="nothing", keep_result=0)],
                redis_settings=self._settings,
                burst=True,
                max_jobs=1,
                poll_delay=0.001,
                handle_signals=False,
            )
            await worker.async_run()
            await worker.close()

        self.run(work_on())

    def close(self) -> None:
        self.run(self._pool.aclose())
        self.loop.close()


class Saq(Loop):
    def __init__(self, url: str) -> None:
        super().__init__()
        logging.getLogger("saq").setLevel(logging.ERROR)
        self._done = import_module("saq").Status.COMPLETE
        server = import_module("redis.asyncio").Redis.from_url(redis_url(url))
        self._queue = import_module("saq.queue.redis").RedisQueue(server, "bench")
        self.run(self._queue.connect())

    def push(self, work: Any) -> None:
        self.run(self._queue.enqueue("nothing", work=work, ttl=-1))

    push_and_wake = push

    def claim(self) -> Any:
        return self.run(self._queue.dequeue(timeout=60))

    wait = claim

    def ack(self, claimed: Any) -> None:
        self.run(claimed.finish(self._done))

    def drain(self) -> None:
        saq = import_module("saq")

        async def no_op(_: Any, *, work: Any) -> None:
            nothing(work)

        async def work_on() -> None:
            worker = saq.Worker(self._queue, [("nothing", no_op)], concurrency=1, burst=True, dequeue_timeout=0.01)
            waiting = await self._queue.count("queued")
            while waiting:
                await worker.process()
                waiting -= 1

        self.run(work_on())

    def close(self) -> None:
        self.run(self._queue.disconnect())
        self.loop.close()


PEERS = (
    Subject("rq", client_of(Rq), "rq", "no dedupe, no lease; pickles"),
    Subject("dramatiq", client_of(Dramatiq), "dramatiq", "no dedupe; a heartbeat for each worker"),
    Subject("huey", client_of(Huey), "huey", "no dedupe, no ack (taking deletes); pickles"),
    Subject("arq", client_of(Arq), "arq", "dedupes by id; its worker alone takes tasks; pickles"),
    Subject("saq", client_of(Saq), "saq", "no lease: swept after a timeout"),
)
