"""Other queues in PostgreSQL, those that are installed; nothing of theirs is imported where they are not."""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import timedelta
from importlib import import_module
from typing import Any

import psycopg

from bench.server_clients import Loop, Subject, client_of, nothing

MINUTE = timedelta(minutes=1)


class Procrastinate(Loop):
    def __init__(self, url: str) -> None:
        super().__init__()
        procrastinate = import_module("procrastinate")
        logging.getLogger("procrastinate").setLevel(logging.ERROR)
        self._done = import_module("procrastinate.jobs").Status.SUCCEEDED
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=2))
        self._task = self._app.task(name="nothing")(nothing)
        self.run(self._open())
        with psycopg.connect(url, autocommit=True) as connection:
            made = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        if made == (None,):
            self.run(self._app.schema_manager.apply_schema_async())
        self._manager: Any = self._app.job_manager
        self._worker: Any = self.run(self._manager.register_worker())

    async def _open(self) -> None:
        await self._app.open_async()

    def push(self, work: Any) -> None:
        self.run(self._task.defer_async(work=work))

    def push_many(self, new: list[Any]) -> None:
        self.run(self._task.batch_defer_async(*({"work": work} for work in new)))

    def claim(self) -> Any:
        return self.run(self._manager.fetch_job(None, self._worker))

    def ack(self, claimed: Any) -> None:
        self.run(self._manager.finish_job(claimed, self._done, delete_job=True))

    def drain(self) -> None:
        self.run(
            self._app.run_worker_async(
                wait=False, concurrency=1, delete_jobs="always", listen_notify=False, install_signal_handlers=False
            )
        )

    def close(self) -> None:
        self.run(self._app.close_async())
        self.loop.close()


class PgQueuer(Loop):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._kind = import_module("pgqueuer.queries").Queries
        limits = import_module("pgqueuer.adapters.persistence.queries").EntrypointExecutionParameter
        logging.getLogger("pgqueuer").setLevel(logging.ERROR)
        self._url = url
        connection = self.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        self._connection = connection
        self._queries: Any = self._kind.from_psycopg_connection(connection)
        if not self.run(self._queries.schema_is_installed()):
            self.run(self._queries.install())
        self._entrypoints: Any = {"nothing": limits(0)}
        self._manager: Any = uuid.uuid4()

    def push(self, work: Any) -> None:
        self.run(self._queries.enqueue("nothing", json.dumps(work).encode()))

    def push_many(self, new: list[Any]) -> None:
        data: list[bytes | None] = [json.dumps(work).encode() for work in new]
        self.run(self._queries.enqueue(["nothing"] * len(new), data, [0] * len(new)))

    def claim(self) -> Any:
        found: Any = self.run(self._queries.dequeue(1, self._entrypoints, self._manager, None, MINUTE))
        json.loads(found[0].payload or b"")
        return found[0]

    def ack(self, claimed: Any) -> None:
        self.run(self._queries.log_jobs([(claimed, "successful", None)]))

    def drain(self) -> float:
        return self.run(self._drain())

    async def _drain(self) -> float:
        """When the last one had run; then its worker waits for notifications for some seconds before it ends."""
        drain = import_module("pgqueuer.types").QueueExecutionMode.drain
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with connection:
            manager: Any = import_module("pgqueuer.qm").QueueManager(self._kind.from_psycopg_connection(connection))
            ended = time.perf_counter()

            async def no_op(job: Any) -> None:
                nonlocal ended
                nothing(json.loads(job.payload))
                ended = time.perf_counter()

            manager.entrypoint("nothing")(no_op)
            await manager.run(mode=drain, dequeue_timeout=timedelta(seconds=0))
        return ended

    def close(self) -> None:
        self.run(self._connection.close())
        self.loop.close()


class DjangoTasksDb:
    """Its worker's statements; each thread has a connection of its own."""

    def __init__(self, url: str) -> None:
        _set_django_up(url)
        self._results: Any = import_module("django_tasks_db.models").DBTaskResult
        self._alone: Any = import_module("django.db.transaction").atomic

    def push(self, work: Any) -> None:
        no_op.enqueue(work)

    def push_many(self, new: list[Any]) -> None:
        with self._alone():
            for work in new:
                no_op.enqueue(work)

    def claim(self) -> Any:
        with self._alone():
            found = self._results.objects.ready().filter(backend_name="default").get_locked()
            if found is not None:
                found.claim("bench")
        return found

    def ack(self, claimed: Any) -> None:
        claimed.set_successful(None)

    def drain(self) -> None:
        import_module("django_tasks_db.management.commands.db_worker").Worker(
            queue_names=["*"],
            interval=0,
            batch=True,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id="bench",
            excluded_queue_names=[],
        ).run()

    def close(self) -> None:
        import_module("django.db").connections["default"].close()


no_op: Any = None
"""The task of Django, as soon as it is set up; it is found by this name."""


def _no_op(work: Any) -> None:
    pass


def _set_django_up(url: str) -> None:
    """Django uses that database, with its tables; those of one process are all in the same one."""
    global no_op
    settings: Any = import_module("django.conf").settings
    connections: Any = import_module("django.db").connections
    logging.getLogger("django_tasks").setLevel(logging.ERROR)
    logging.getLogger("django_tasks_db").setLevel(logging.ERROR)
    of = psycopg.conninfo.conninfo_to_dict(url)
    if not settings.configured:
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": of["dbname"],
            "USER": of.get("user"),
            "HOST": of.get("host"),
            "PORT": of.get("port", ""),
            "CONN_MAX_AGE": None,
        }
        settings.configure(
            DATABASES={"default": database},
            INSTALLED_APPS=["django_tasks", "django_tasks_db"],
            TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
            USE_TZ=True,
        )
        import_module("django").setup()
        _no_op.__qualname__ = _no_op.__name__ = "no_op"
        no_op = import_module("django_tasks").task()(_no_op)
    database = connections.databases["default"]
    if (database["NAME"], database["HOST"]) != (of["dbname"], of.get("host")):
        connections["default"].close()
        database.update(NAME=of["dbname"], HOST=of.get("host"))
        connections["default"].settings_dict.update(NAME=of["dbname"], HOST=of.get("host"))
    import_module("django.core.management").call_command("migrate", verbosity=0)


PEERS = (
    Subject("procrastinate", client_of(Procrastinate), "procrastinate", "no lease: a heartbeat for each worker"),
    Subject("pgqueuer", client_of(PgQueuer), "pgqueuer", "an ack moves the task to a log; its worker acks in tens"),
    Subject("django-tasks-db", client_of(DjangoTasksDb), "django-tasks-db", "no lease; done rows stay until pruned"),
)
