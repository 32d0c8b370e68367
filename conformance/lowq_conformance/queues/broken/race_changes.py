"""Queues that look whether a task may be changed, and change it in another step, whoever came in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from lowq import Lease, LeaseLost
from lowq_conformance.queues.broken.register import breaks, enter
from lowq_conformance.queues.sound import table
from lowq_conformance.queues.sound.journal import DAY, Queue


def breaks_table(*clauses: str) -> Callable[[type[table.Client]], type[table.Table]]:
    """Register a client of a table under its name, and put the harness that opens it in its place."""

    def register(client: type[table.Client]) -> type[table.Table]:
        enter(client, clauses)
        names = {"__doc__": client.__doc__, "__module__": client.__module__, "_client": client}
        return type(client.__name__, (table.Table,), names)

    return register


@breaks_table("CANCEL-2")
class CancelLooksThenDeletes(table.Client):
    """A cancel asks the database whether the task is in anybody's hand, and deletes it in the next statement."""

    def cancel(self, id: int) -> bool:
        with self.transaction() as database:
            found = database.execute("SELECT 1 FROM task WHERE id = ? AND until <= ?", (id, self.now())).fetchone()
        if found is None:
            return False
        with self.transaction() as database:
            return database.execute("DELETE FROM task WHERE id = ?", (id,)).rowcount > 0


@breaks_table("LEASE-6")
class ExtendLooksThenWrites(table.Client):
    """An extend asks the database whether the token is current, and writes the lease's end in the next statement."""

    def extend(self, held: table.Claimed, *, lease_for: timedelta) -> None:
        self.settle("UPDATE task SET token = token", held)
        with self.transaction() as database:
            database.execute("UPDATE task SET until = ? WHERE id = ?", (self.until(lease_for), held.id))


@breaks_table("DEAD-3")
class RedriveLooksThenWrites(table.Client):
    """A redrive asks the database whether an equal task stands, and revives its own in the next statement."""

    def redrive(self, id: int) -> bool:
        with self.transaction() as database:
            found = database.execute("SELECT work FROM task WHERE id = ? AND dead", (id,)).fetchone()
            if found is None or self.standing(database, found[0]) is not None:
                return False
        with self.transaction() as database:
            return database.execute("UPDATE task SET dead = 0 WHERE id = ? AND dead", (id,)).rowcount > 0


@breaks_table("DEAD-3")
class TwoRedrivesSayYes(table.Client):
    """A redrive asks the database whether the task is dead, and says that it has revived it, whoever did."""

    def redrive(self, id: int) -> bool:
        with self.transaction() as database:
            found = database.execute("SELECT work FROM task WHERE id = ? AND dead", (id,)).fetchone()
        if found is None:
            return False
        with self.transaction() as database:
            if self.standing(database, found[0]) not in (None, id):
                return False
            database.execute("UPDATE task SET dead = 0 WHERE id = ?", (id,))
            return True


@breaks_table("LEASE-13")
class DeadLetterLooksThenWrites(table.Client):
    """A dead letter asks the database whether the token is current, and sets aside in the next statement."""

    def dead_letter(self, held: table.Claimed) -> None:
        self.settle("UPDATE task SET token = token", held)
        with self.transaction() as database:
            database.execute("UPDATE task SET dead = 1, until = 0, token = NULL WHERE id = ?", (held.id,))


@breaks("CANCEL-2")
class CancelFinishesWhatItSaw(Queue):
    """A cancel looks at the task under one lock and takes it out under the next, whoever has it by then."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state == "leased":
                return False
        with self.alone():
            row = self.find(id)
            if row is None:
                return False
            self.remove(row)
            return True


@breaks("CANCEL-1")
class ClaimsWhatWasCancelled(Queue):
    """A claim looks for the first task under one lock and takes it under the next, also where it is gone by then."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone() as now:
            until, row = self.until(now, lease_for), self.first()
        if row is None:
            return None
        with self.alone():
            known = self.rows.get(row.number, row)
            if known.state == "leased":
                return self._claim_another(until)
            self.hold(known, until)
            return self.lease(known)

    def _claim_another(self, until: int) -> Lease | None:
        row = self.first()
        if row is None:
            return None
        self.hold(row, until)
        return self.lease(row)


@breaks("CANCEL-3")
class TwoCancelsSayYes(Queue):
    """A cancel looks whether the task is there and waits, and says that it has taken it out, whoever did."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state == "leased":
                return False
        with self.alone():
            row = self.find(id)
            if row is not None and row.state == "leased":
                return False
            if row is not None:
                self.remove(row)
            return True


@breaks("LEASE-6")
class ExtendTakesTheTaskBack(Queue):
    """An extend looks at the lease under one lock, and under the next gives the task to whom it has seen there."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone():
            self.held(lease)
        with self.alone() as now:
            row = self.find(lease.id)
            if row is None:
                raise LeaseLost(f"task {lease.id} is gone")
            row.state, row.due, row.token = "leased", self.until(now, lease_for), lease.token
            self.write(row)
            return self.lease(row)


@breaks("LEASE-8")
class ClaimsInSpiteOfAnExtension(Queue):
    """A claim looks for a lease that ran out under one lock, and takes the task under the next, extended or not."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            found = self.first()
        late = None if found is None else found.token
        with self.alone() as now:
            row = self.rows.get(found.number) if found is not None and late is not None else self.first()
            if row is None or (row.state == "leased" and row.token != late):
                row = self.first()
            if row is None:
                return None
            self.hold(row, self.until(now, lease_for))
            return self.lease(row)


@breaks("DEAD-3")
class RevivesWhatWasCancelled(Queue):
    """A redrive looks at the dead task under one lock and writes it under the next, also where it is gone by then."""

    def redrive(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state != "dead" or self.standing(row) is not None:
                return False
        with self.alone() as now:
            known = self.find(id)
            if known is not None and (known.state != "dead" or self.standing(known) is not None):
                return False
            row = known or row
            row.attempts = 0
            self.wait(row, None, now)
            return True


@breaks("RACE-3")
class ReleaseLooksThenWrites(Queue):
    """A release looks at the lease under one lock, and under the next gives the task back, whoever has it by then."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            self.held(lease)
        with self.alone():
            row = self.find(lease.id)
            now = lease if row is None or row.token is None or row.due is None else self.lease(row)
        super().release(now, not_before=not_before)
