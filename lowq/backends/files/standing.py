"""Finds the standing task: the one that makes an equal push a duplicate."""

from __future__ import annotations

from lowq.backend import Dedupe
from lowq.backends.files.content import Wrong, read
from lowq.backends.files.folder import Folder
from lowq.backends.files.index import Index
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.names import DIGEST, due, number
from lowq.process.handlers import let_through
from lowq.rules.origin import let_through_strange


class Standing:
    """The rule of dedupe of one queue."""

    def __init__(self, folder: Folder, ledger: Ledger, dedupe: Dedupe) -> None:
        self._folder = folder
        self._ledger = ledger
        self.dedupe = dedupe

    def find(self, index: Index, digest: bytes, now: str) -> str | None:
        """The number of the oldest task for which a push of this digest is refused, or None."""
        if self.dedupe == "off":
            return None
        for name in index.equals(start_of(digest)):
            if self.dedupe == "until_claimed" and name[0] == "l" and due(name) > now:
                continue
            if self._is_equal(index, name, digest):
                return number(name)
        return None

    def _is_equal(self, index: Index, name: str, digest: bytes) -> bool:
        """Whether the file is there, and its whole digest is this one; its name has only the start of it."""
        try:
            return read(self._folder.read(name)).entry().digest == digest
        except FileNotFoundError as error:  # a person removed it
            let_through(error)
            self._ledger.forget(index, name)
        except (Wrong, ValueError, TypeError) as error:  # a claim will set it aside
            let_through_strange(error)
        return False


def start_of(digest: bytes) -> str:
    """What a name has of the digest."""
    return digest.hex()[:DIGEST]
