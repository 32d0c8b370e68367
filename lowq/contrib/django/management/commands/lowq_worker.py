"""`manage.py lowq_worker`: a worker in the foreground for the tasks of Django that lowq keeps."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from lowq.backend import LowqError
from lowq.clock import SystemClock
from lowq.contrib.django.backend import left_out, queues_of
from lowq.worker.pool import Pool
from lowq.worker.stopping import Stop
from lowq.worker.turns import Turns
from lowq.worker.worker import GRACE, PATIENCE


class Command(BaseCommand):  # type: ignore[misc]  # Django ships no types
    """Runs tasks until it is told to stop."""

    help = "Run the tasks that lowq keeps, most urgent first and the queues in turns, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: Any) -> None:
        """Its options."""
        parser.add_argument("--backend", action="append", default=[], help="An alias in TASKS; all of lowq's.")
        parser.add_argument("--queue", action="append", default=[], help="The name of a queue; all of them.")
        parser.add_argument("--processes", type=int, default=1, help="How many tasks run at once.")
        parser.add_argument("--batch", type=int, default=1, help="How many tasks are claimed and settled together.")
        parser.add_argument("--drain", action="store_true", help="Run what is due now, and leave.")

    def handle(self, **options: Any) -> None:
        """Run them."""
        processes, batch = options["processes"], options["batch"]
        try:
            queues = queues_of(options["backend"], options["queue"])
            if batch > 1 and len(queues) > 1:
                raise CommandError("--batch is for one queue: several take turns, a task each; name one with --queue")
            stop = Stop(SystemClock(), GRACE)
            workers = [queue.worker(processes=processes, batch=batch) for queue in queues]
            loops = [worker.loop(stop) for worker in workers]
            for queue in queues:
                self.stderr.write(f"queue {queue.name} of {queue.location}: {queue.backend.count().ready} ready")
            for alias, names in left_out(queues).items() if not options["queue"] else ():
                others = ", ".join(names)
                self.stderr.write(
                    f"TASKS[{alias!r}] has no QUEUES, so others are left: name them with --queue: {others}"
                )
            loop = loops[0] if len(loops) == 1 else Turns(loops, stop, PATIENCE)
            expects = (lambda: False) if options["drain"] else None
            if processes == 1:
                loop.serve(expects)
            else:
                Pool(loop, processes, stop, workers[0].on_run).run(expects)
        except (LowqError, ImproperlyConfigured, ValueError, TypeError) as error:
            raise CommandError(str(error)) from error
