"""How the queues of a directory were made: what ``.lowq/queue.json`` says."""

from __future__ import annotations

import json
import os
from typing import Any

from lowq import kernel
from lowq.backend import CorruptQueue, InvalidLocation, LowqError
from lowq.process.handlers import Suppressed, let_through
from lowq.rules.names import check_dedupe
from lowq.rules.origin import let_through_strange

FORMAT = 1
INNER = ".lowq"


def settings_at(path: str) -> dict[str, Any] | None:
    """How the queue was made, or None where there is none."""
    try:
        with kernel.open_file(path, encoding="utf-8") as file:
            known = json.load(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        let_through(error)
        return None
    except (ValueError, RecursionError) as error:
        let_through_strange(error)
        raise CorruptQueue(f"{path} is damaged ({error}); restore it from a copy") from None
    if not isinstance(known, dict) or not isinstance(known.get("lowq"), int) or "dedupe" not in known:
        raise CorruptQueue(f"{path} is damaged: expected a JSON object with lowq, name and dedupe")
    if known["lowq"] > FORMAT:
        raise InvalidLocation(
            f"{os.path.dirname(os.path.dirname(path))} was made by a newer lowq (format {known['lowq']}, this lowq "
            f"knows {FORMAT}); upgrade lowq"
        )
    try:
        made: Any = known["dedupe"] or ""
        check_dedupe(made)
    except ValueError as error:
        let_through_strange(error)
        raise CorruptQueue(f"{path} is damaged: {error}") from None
    return known


def names_at(root: str) -> list[str]:
    """The names of the queues of a location."""
    places = [root]
    with Suppressed(OSError):
        places += [entry.path for entry in os.scandir(os.path.join(root, "queues"))]
    found = []
    for place in places:
        with Suppressed(LowqError, OSError):
            known = settings_at(os.path.join(place, INNER, "queue.json"))
            if known is not None:
                found.append(str(known.get("name")))
    return sorted(found)
