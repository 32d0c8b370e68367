"""Changes of a directory: by one client at a time, each whole or absent whatever happens to who makes it.

A change is noted in the journal, carried out, and noted as done. Whoever takes the lock finds in the journal what
others changed, and finishes what a killed holder had noted and not done. A client that an exception cut off knows
nothing any more, and lists the directory.

A batch is more than a journal's record can hold, and must be whole after a loss of power too: its renames are written
into a file of their own, which one rename publishes; whoever finds it carries them out.

Long: what makes a change and what finishes one that was cut off know the same order of steps.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterable
from typing import TypeVar

from lowq import kernel
from lowq.backend import CorruptQueue, LowqError
from lowq.backends.files.descriptors import describe
from lowq.backends.files.folder import BAD, TMP, Folder
from lowq.backends.files.index import Index
from lowq.backends.files.journal import Change, Header, Journal, knows_boots
from lowq.backends.files.names import LAST_NUMBER, is_meant, is_task, number
from lowq.backends.files.recall import LEAST, note, recall
from lowq.backends.files.settings import INNER
from lowq.process.handlers import Suppressed, is_of_a_handler, let_through
from lowq.rules.origin import let_through_strange

T = TypeVar("T")

BATCH = f"{INNER}/batch"
_LONGEST = 220
"""Bytes of a name that others are made of: 255 are the most that file systems take."""
_FEW = 100
"""So many changes of others are looked up in the noted names; for more, they are noted anew."""
_FAR = 10**12
"""So many numbers a loss of power may take from `numbers` at most, and more than any queue ever gives."""
_RESERVE = 1_000
"""So many numbers are set aside with one write that is synced."""


class Ledger:
    """The changes of one client of a folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._index: Index | None = None
        self._header = Header(0, 0, 0, 1)
        self._seen = (0, 0)
        self._reserved = 0
        self._fresh = True
        self.arrivals: Callable[[Index], None] | None = None

    def alone(self, step: Callable[[Index], T]) -> T:
        """The answer of `step`, which is run while nobody else changes the directory, and knows what is in it."""
        mutex = self.folder.mutex
        mutex.check_free()
        try:
            try:
                mutex.acquire()
                answer = self._call_informed(step)
                mutex.release()
            except BaseException:  # and not `finally`, before whose first instruction it would stay locked
                mutex.release()
                raise
        except BaseException as error:
            mutex.release()  # where a signal's exception came into the first of them
            if self.folder.closed:
                self.folder.shut()
            if isinstance(error, OSError):
                raise self.folder.translate(error) from error
            raise
        if self.folder.closed:  # by a call that came in between, which left it open for this one
            self.folder.shut()
        return answer

    def _call_informed(self, step: Callable[[Index], T]) -> T:
        """The answer of `step`, which is told what is in the directory; the caller holds the lock."""
        index = self._follow(self.folder.open())
        try:
            if self.arrivals is not None:
                self.arrivals(index)
            answer = step(index)
        except LowqError:
            self._index = index
            raise
        self._index = index
        return answer

    def open(self) -> None:
        """The folder is open, also after a fork. Raises QueueClosed."""
        if self.folder.closed or self.folder.journal is None:
            self.alone(lambda _: None)

    def knows(self, digest: str) -> bool:
        """Whether an equal task may stand: a hint, for there is no lock around it."""
        index = self._index
        return index is not None and index.may_stand(digest)

    def change(self, index: Index, changes: list[Change]) -> set[str]:
        """The changes are made; the names of those whose file somebody else had removed are the answer.

        Made from inside `alone`. What an exception cuts off is undone where nothing was done yet, and otherwise
        finished.
        """
        if not changes:
            return set()
        journal, header = self._journal(), self._header
        before = header.end
        try:  # with no other one inside: the instruction that enters it is outside of both
            header.end = self._note(journal, changes)
            journal.write(header)
            gone = self._finish(changes)
            header.done, header.changed = header.end, self.folder.read_change_time()
            journal.write(header)
        except BaseException:
            self._index = None
            if self.folder.exists(changes[0][0]):
                header.end = before
                journal.write(header)
            else:
                self._settle(journal, header, changes)
            raise
        for change in changes:
            _apply(index, change)
        self._seen = (header.epoch, header.end)
        if gone and not self.folder.exists(INNER):
            raise self.folder.gone_error()
        if gone:
            self.change(index, [(target, "") for source, target in changes if source in gone and target])
        return gone

    def forget(self, index: Index, name: str) -> None:
        """A task whose file a person removed is none any more, for any client."""
        self.change(index, [(name, "")])

    def change_all(self, index: Index, changes: list[Change]) -> None:
        """All the changes, of new files to tasks, are made, or none: also where the power fails meanwhile."""
        journal, header, folder = self._journal(), self._header, self.folder
        data = "\0".join(f"{source}\0{target}" for source, target in changes).encode()
        try:
            header.batch = 1
            journal.write(header)
            folder.rename(folder.write(data), BATCH)
            folder.sync_folder(os.path.join(folder.path, INNER))
            for source, target in changes:
                folder.rename(source, target)
            folder.sync(TMP)
            folder.remove(BATCH)
        except BaseException:
            self._index = None
            self._undo_batch(changes)
            raise
        header.batch, header.changed = 0, folder.read_change_time()
        for start in range(0, len(changes), 500):
            header.end = self._note(journal, changes[start : start + 500])
            header.done = header.end
        journal.write(header)
        for change in changes:
            _apply(index, change)
        self._seen = (header.epoch, header.end)

    def number(self) -> str:
        """The next number, which no task of this queue ever had; from inside `alone`, followed by a change."""
        header = self._header
        if header.next >= self._reserved:
            self._reserved = self.folder.reserve()
            if header.next >= self._reserved:
                self._reserved = self.folder.reserve(header.next + _RESERVE)
        if header.next >= LAST_NUMBER:
            raise CorruptQueue(f"{self.folder.path}: all numbers are used up; start a new directory")
        number, header.next = header.next, header.next + 1
        return f"{number:016}"

    def set_aside(self, index: Index, name: str, why: str) -> bool:
        """What stands at `name` is in `bad`, with the reason beside it; False: it may not be moved, and stays."""
        base = _short(name)
        target = f"{BAD}/{base}"
        while self.folder.exists(target):
            target = f"{BAD}/{kernel.urandom(4).hex()}-{base}"
        self._tell(f"{target}.why.txt", f"{base}: {why}")
        try:
            self.change(index, [(name, target)])
        except OSError as error:
            let_through(error)
            self.folder.discard(f"{target}.why.txt")
            self.tell_why_it_stays(name, f"{why}; it was not moved here: {describe(error)}")
            if is_meant(name):  # it is none of ours then
                index.remove(name)
            return False
        return True

    def tell_why_it_stays(self, name: str, why: str) -> None:
        """The reason why what stands at `name` is left there is in `bad`, once however often it is told."""
        base = _short(name)
        self._tell(f"{BAD}/{base}.stays.why.txt", f"{base}: {why}")

    def _tell(self, path: str, text: str) -> None:
        """A file at `path`, in `bad`, says so, if there is room for it."""
        with Suppressed(OSError):
            self.folder.make_bad()
            note = self.folder.write(f"{text}\n".encode(errors="backslashreplace"))
            self.folder.rename(note, path)

    def _journal(self) -> Journal:
        journal = self.folder.journal
        assert journal is not None  # from inside `alone`
        return journal

    def _note(self, journal: Journal, changes: list[Change]) -> int:
        """The end of the journal with the changes noted in it; they are not in force before the header says so."""
        header = self._header
        try:
            return journal.append(changes, header.end)
        except OSError as error:
            if error.errno != errno.EFBIG or is_of_a_handler(error):
                raise
            # A limit on the size of files came into the journal's way: it begins anew.
            header.epoch, header.end, header.done = _epoch(), 0, 0
            journal.write(header)
            return journal.append(changes, 0)

    def _carry_out(self, source: str, target: str) -> bool:
        """The change is made; False: there is no such file."""
        try:
            if target:
                self.folder.rename(source, target)
            else:
                self.folder.remove(source)
        except FileNotFoundError as error:
            let_through(error)
            return False
        return True

    def _finish(self, changes: list[Change]) -> set[str]:
        """What was not done of the changes is done; the sources that were not there: each that was done has none."""
        return {source for source, target in changes if not self._carry_out(source, target)}

    def _follow(self, journal: Journal) -> Index:
        """What is in the directory now, with what a killed holder left unfinished finished."""
        index, self._index = self._index, None
        header = journal.header()
        if index is None and self._fresh and header is not None:
            index = self._recall(journal, header)
        if header is None or header.batch or index is None or header.epoch != self._seen[0]:
            return self._list(journal, header)
        self._header = header
        if header.end != self._seen[1]:
            changes = journal.changes(self._seen[1], header.end)
            if changes is None:
                return self._list(journal, header)
            for change in changes:
                _apply(index, change)
            self._seen = (header.epoch, header.end)
        if header.done != header.end:
            self._settle(journal, header, journal.changes(header.done, header.end) or [])
            if header.end == 0:
                return self._list(journal, header)
        return index

    def _recall(self, journal: Journal, header: Header) -> Index | None:
        """What another client noted and the journal says of the time since, where nobody else changed anything."""
        if (
            header.batch
            or header.done != header.end
            or header.changed != self.folder.read_change_time()
            or not knows_boots()
        ):
            return None
        known = recall(self.folder, header.epoch)
        changes = None if known is None else journal.changes(known[0], header.end)
        if known is None or changes is None:
            return None
        index: Index = known[1]
        if many := len(changes) > _FEW:
            index = Index(index.all())
        for change in changes:
            _apply(index, change)
        if many:
            note(self.folder, header.epoch, header.end, index)
        self._fresh = False
        self._seen = (header.epoch, header.end)
        self.folder.tidy()
        return index

    def _settle(self, journal: Journal, header: Header, changes: list[Change]) -> None:
        """The changes that the journal ends with are done, and noted as done.

        Where the system refuses one, each is still whole or absent by itself, and all clients list the directory.
        """
        try:
            self._finish(changes)
            header.done, header.changed = header.end, self.folder.read_change_time()
        except OSError as error:
            let_through(error)
            header.epoch, header.end, header.done = _epoch(), 0, 0
        journal.write(header)

    def _list(self, journal: Journal, header: Header | None) -> Index:
        """What a listing says, after what was left unfinished is finished."""
        folder = self.folder
        if header is None:
            header = Header(_epoch(), 0, 0, max(1, folder.reserve()))
        elif self._fresh and not knows_boots():
            header.next = max(header.next, folder.reserve())
        self._fresh = False
        if header.done != header.end:
            self._settle(journal, header, journal.changes(header.done, header.end) or [])
        self._header = header
        if self._redo_batch() or header.batch:
            header.epoch, header.end, header.done, header.batch = _epoch(), 0, 0, 0
        header.changed = folder.read_change_time()
        names, wrong = self._names()
        index = Index(names)
        if index.names:
            header.next = max(header.next, int(max(index.names)) + 1)
        journal.write(header)
        self._seen = (header.epoch, header.end)
        if len(names) >= LEAST and knows_boots():
            note(folder, header.epoch, header.end, index)
        folder.tidy()
        for name, why in wrong:
            self.set_aside(index, name, why)
        return index

    def _names(self) -> tuple[list[str], list[tuple[str, str]]]:
        """The names of the task files, and the names that mean to be some and are none, each with what is wrong.

        A number far beyond those that were reserved (0: it is not known) would leave none for the tasks to come.
        """
        reserved = self.folder.reserve()
        with os.scandir(self.folder.path) as entries:
            return _sort_out(entries, reserved)

    def _redo_batch(self) -> bool:
        """A batch that was published and not carried out is carried out; whether there was one."""
        try:
            data = self.folder.read(BATCH)
        except FileNotFoundError as error:
            let_through(error)
            return False
        try:
            parts = data.decode().split("\0")
            changes = list(zip(parts[::2], parts[1::2], strict=True))
        except ValueError as error:  # it was published whole, so that somebody else damaged it since
            let_through_strange(error)
            self.folder.rename(BATCH, f"{BAD}/batch-{os.urandom(4).hex()}")
            return True
        try:
            self._finish(changes)
            self.folder.sync(TMP)
            self.folder.remove(BATCH)
        except OSError as error:
            let_through(error)
            self._undo_batch(changes)  # nobody was told that it was kept, and nobody has seen it
        return True

    def _undo_batch(self, changes: list[Change]) -> None:
        """None of the batch is there; where that fails, the next client carries it out."""
        for source, target in reversed(changes):
            with Suppressed(FileNotFoundError):
                self.folder.rename(target, source)
        with Suppressed(FileNotFoundError):
            self.folder.remove(BATCH)
            self.folder.sync_folder(os.path.join(self.folder.path, INNER))
        for source, _ in changes:
            self.folder.discard(source)


def _apply(index: Index, change: Change) -> None:
    source, target = change
    if is_meant(source):
        index.remove(source)
    if is_meant(target):
        index.add(target)


def _sort_out(entries: Iterable[os.DirEntry[str]], reserved: int) -> tuple[list[str], list[tuple[str, str]]]:
    """As Ledger._names, of what is in the directory, and so many numbers reserved."""
    names: dict[str, str] = {}
    last = f"{reserved + _FAR:016}" if reserved else "~"
    wrong: list[tuple[str, str]] = []
    for entry in entries:
        name = entry.name
        if not is_task(name):
            if is_meant(name):
                wrong.append((name, "its name is like a task's, and is none; the README says how they are"))
        elif not entry.is_file(follow_symlinks=False):
            wrong.append((name, "it is no regular file"))
        elif number(name) > last:
            wrong.append((name, f"its number is none that this queue has given, and the last is {reserved}"))
        elif (other := names.setdefault(number(name), name)) != name:
            wrong.append((name, f"it says that it is the same task as {other}, and a task is one file"))
    return list(names.values()), wrong


def _short(name: str) -> str:
    """The last part of the name, so short that others can be made of it."""
    base = os.path.basename(name)
    return base if len(os.fsencode(base)) <= _LONGEST else base[: _LONGEST // 4]


def _epoch() -> int:
    return random.getrandbits(63)
