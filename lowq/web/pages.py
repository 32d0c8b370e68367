"""The pages: the next task, the tasks by state, one task, and the question before anything is taken back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, session, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from lowq.backend import NO_HEADERS, Backend, State, Task
from lowq.clock import to_datetime, to_micros
from lowq.rules.names import check_name
from lowq.rules.paging import check_after
from lowq.web import show
from lowq.web.access import new_mark
from lowq.web.parts import may_write, parts

SEARCHED = 5000
"""Tasks that a search looks at before it shows what it found so far."""

_AT_ONCE = 500
_CSRF = "csrf"


@dataclass(frozen=True, slots=True)
class Verb:
    """A change that is asked about first."""

    question: str
    consequence: str
    button: str
    states: tuple[State, ...]


VERBS = {
    "cancel": Verb(
        "Delete task {id}?",
        "It is gone then, and no worker will run it.",
        "Delete it",
        (State.READY, State.SCHEDULED, State.DEAD),
    ),
    "redrive": Verb(
        "Redrive task {id}?",
        "It waits again in its old place, with its attempts counted from 0.",
        "Redrive it",
        (State.DEAD,),
    ),
    "release": Verb(
        "Release task {id}?",
        "It is taken from the worker that holds it, whose answer is refused then, and waits again in its old place.",
        "Release it",
        (State.LEASED,),
    ),
}


def blueprint() -> Blueprint:
    """The pages, to be registered in an application."""
    made = Blueprint("pages", __name__)
    for each in (show.show_work, show.one_line, show.last_line, show.visible, show.iso, show.clock, show.distance):
        made.add_app_template_filter(each)
    made.add_url_rule("/", view_func=index)
    made.add_url_rule("/tasks", view_func=tasks)
    made.add_url_rule("/list", view_func=old_list)
    made.add_url_rule("/task", view_func=task)
    made.add_url_rule("/confirm", view_func=confirm)
    made.add_url_rule("/counts", view_func=counts)
    made.add_url_rule("/login", view_func=login)
    return made


def index() -> str:
    """The next task, a form for another, and how much waits under each name."""
    name = queue_name(request.args)
    queue = parts().queues.get(name, create=False)
    waiting = queue.tasks(state=State.READY, limit=1) or queue.tasks(state=State.SCHEDULED, limit=1)
    return page("next.html", name, next=waiting[0] if waiting else None, queues=parts().queues.counts())


def tasks() -> str:
    """The tasks of the queue, of one state or of all, those with a text in them or all, a page at a time."""
    name, state = queue_name(request.args), _state(request.args)
    q, after = _one(request.args, "q"), _one(request.args, "after")
    queue = parts().queues.get(name, create=False)
    start = read_cursor(after) if after else None
    size = parts().settings.page_size
    looked = 0
    if q:
        found, more, looked = search(queue, q, state, start, size)
    else:
        found = queue.tasks(state=state, after=start, limit=size + 1)
        more = found[size - 1] if len(found) > size else None
        found = found[:size]
    return page(
        "tasks.html",
        name,
        tasks=found,
        state=str(state or ""),
        q=q,
        after=after,
        more=None if more is None else cursor(more),
        looked=looked if more else 0,
    )


def old_list() -> Response:
    """`/list` of the ancestor leads to `/tasks`."""
    query = request.query_string.decode("latin-1")
    return redirect(url_for("pages.tasks") + (f"?{query}" if query else ""), 301)


def task() -> str:
    """One task with all that is known of it."""
    name = queue_name(request.args)
    found = the_task(name, _one(request.args, "id"))
    return page("task.html", name, task=found, releasable=parts().replies.lease(name, found.id) is not None)


def confirm() -> str:
    """The question before a task is deleted, redriven or released."""
    name, chosen = queue_name(request.args), _one(request.args, "verb")
    found = the_task(name, _one(request.args, "id"))
    verb = VERBS.get(chosen)
    if verb is None:
        abort(400, f"verb: expected {', '.join(VERBS)}, got {chosen!r}")
    if found.state not in verb.states:
        abort(409, f"task {found.id} is {found.state} now, and so there is nothing to {chosen}")
    return page(
        "confirm.html",
        name,
        task=found,
        verb=chosen,
        question=verb.question.format(id=found.id),
        consequence=verb.consequence,
        button=verb.button,
        action=url_for(f"forms.{chosen}"),
    )


def counts() -> dict[str, int]:
    """How many tasks are in each state, for the script that keeps a page's numbers true."""
    return asdict(parts().queues.get(queue_name(request.args), create=False).count())


def login() -> str:
    """The form that asks for a token."""
    return page("login.html", "")


def page(template: str, name: str, **values: Any) -> str:
    """The template, filled: with the counts of the queue where one is shown, and a form that carries its mark."""
    known = parts()
    if name:
        values.setdefault("counts", asdict(known.queues.get(name, create=False).count()))
    values.setdefault("values", {"payload": "", "format": "json", "exectime": "", "key": ""})
    values["values"].setdefault("priority", str(known.settings.default_priority))
    values.setdefault("faults", {})
    return render_template(
        template,
        name=name,
        now=known.now(),
        csrf=form_mark(),
        may_write=may_write(),
        logged_in="token" in session,
        **values,
    )


def form_mark() -> str:
    """The value that the forms of this browser carry, made where it has none."""
    if _CSRF not in session:
        session[_CSRF] = new_mark()
    return str(session[_CSRF])


def queue_name(given: MultiDict[str, str]) -> str:
    """The queue that a request is about. Aborts where that can be no name."""
    name = _one(given, "name") or parts().settings.name
    try:
        check_name(name)
    except ValueError as error:
        abort(400, str(error))
    return name


def the_task(name: str, id: str) -> Task:
    """The task, or an error page."""
    found = parts().queues.get(name, create=False).task(id)
    if found is None:
        abort(404, f"there is no task {show.visible(id)[:100]} in this queue: it is done, deleted, or never was")
    return found


def search(
    queue: Backend, text: str, state: State | None, start: Task | None, size: int
) -> tuple[list[Task], Task | None, int]:
    """Up to `size` tasks with the text in them, the task after which to go on (None: there are no more), and how
    many were looked at."""
    wanted = text.casefold()
    found: list[Task] = []
    looked = 0
    while looked < SEARCHED:
        batch = queue.tasks(state=state, after=start, limit=_AT_ONCE)
        for each in batch:
            looked, start = looked + 1, each
            texts = (show.whole_line(each.work), each.key or "", each.reason or "", each.id)
            if any(wanted in text.casefold() for text in texts):
                found.append(each)
                if len(found) == size:
                    return found, start, looked
        if len(batch) < _AT_ONCE:
            return found, None, looked
    return found, start, looked


def cursor(task: Task) -> str:
    """The place of a task in a listing, as text for a link."""
    due = None if task.not_before is None else to_micros(task.not_before)
    return json.dumps([task.id, str(task.state), task.priority, due], separators=(",", ":"))


def read_cursor(text: str) -> Task:
    """A task that stands at that place. Aborts for a text that `cursor` did not make."""
    try:
        id, state, priority, due = json.loads(text)
        if not isinstance(id, str) or type(priority) is not int or not isinstance(due, int | None):
            raise ValueError
        not_before = None if due is None else to_datetime(due)
        place = Task(id, None, None, priority, not_before, 0, State(state), None, to_datetime(0), NO_HEADERS)
        check_after(place)
        return place
    except (ValueError, TypeError, OverflowError, RecursionError):
        abort(400, "after: this is no place in the list; begin with the first page")


def _state(given: MultiDict[str, str]) -> State | None:
    state = _one(given, "state")
    if state and state not in list(State):
        abort(400, f"state: expected {', '.join(State)} or nothing, got {state[:50]!r}")
    return State(state) if state else None


def _one(given: MultiDict[str, str], field: str) -> str:
    """The one value of a field, or the empty text. Aborts where there are several."""
    values = given.getlist(field)
    if len(values) > 1:
        abort(400, f"{field}: given {len(values)} times; give it once")
    return values[0] if values else ""
