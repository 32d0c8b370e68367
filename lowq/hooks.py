"""What a program wants done where lowq forks, around each push and task, after each claim and each run.

::

    from lowq import hooks

    @hooks.after_fork_in_child
    def leave_connections():
        engine.dispose(close=False)     # the parent's: not ours to use, nor to close

    @hooks.around_task
    @contextmanager
    def unit_of_work(task):
        with Session.begin():
            yield

    @hooks.around_push
    @contextmanager
    def tell_who(pushing):
        pushing.headers["user"] = current_user.name
        yield

Hooks are the process's, for all its queues and workers, and run in the order in which they were registered
(`before_fork` in reverse, as with `os.register_at_fork`). One that is registered twice runs once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, TypeVar

from lowq.backend import Pushed, Task
from lowq.current_task import CurrentTask
from lowq.error_text import in_full, type_name
from lowq.run import Run

_log = logging.getLogger("lowq.worker")


@dataclass(slots=True)
class Pushing:
    """A push through a TaskQueue: `count` works to the queue of that name, with `headers` that a hook may add to.

    `pushed` is the answer, once there is one.
    """

    queue: str
    count: int
    headers: dict[str, str]
    pushed: list[Pushed] | None = None


ForkHook = Callable[[], object]
TaskHook = Callable[[CurrentTask], AbstractContextManager[Any]]
Push = Callable[[Mapping[str, str] | None], list[Pushed]]
PushHook = Callable[[Pushing], AbstractContextManager[Any]]
RunHook = Callable[[Run, str], object]
ClaimHook = Callable[[list[Task], str, timedelta], object]
F = TypeVar("F", bound=ForkHook)
T = TypeVar("T", bound=TaskHook)
P = TypeVar("P", bound=PushHook)
R = TypeVar("R", bound=RunHook)
C = TypeVar("C", bound=ClaimHook)
Hook = TypeVar("Hook")

_before: list[ForkHook] = []
_in_parent: list[ForkHook] = []
_in_child: list[ForkHook] = []
_around: list[TaskHook] = []
_pushes: list[PushHook] = []
_after: list[RunHook] = []
_claims: list[ClaimHook] = []


def before_fork(hook: F) -> F:
    """Called in the process that is about to be forked, by `start()`, `processes` or `time_limit`."""
    return _register(_before, hook, "before_fork")


def after_fork_in_parent(hook: F) -> F:
    """Called in the process that was forked, right after, also where the fork has failed."""
    return _register(_in_parent, hook, "after_fork_in_parent")


def after_fork_in_child(hook: F) -> F:
    """Called in each process that will run tasks, before its first: let go there of what is its parent's."""
    return _register(_in_child, hook, "after_fork_in_child")


def around_task(hook: T) -> T:
    """`with hook(task):` stands around each handler, in the process and the thread that run it, also in tests.

    What it raises is a failure of the task; what the handler raises goes through it, so it can roll back or commit.
    """
    if isgeneratorfunction(hook):
        raise TypeError(f"around_task: {_name(hook)} is a generator: decorate it with @contextlib.contextmanager")
    return _register(_around, hook, "around_task")


def around_push(hook: P) -> P:
    """`with hook(pushing):` stands around each push through a TaskQueue, and may add to its headers.

    What it raises is raised by the push, before anything is kept where it is raised before.
    """
    if isgeneratorfunction(hook):
        raise TypeError(f"around_push: {_name(hook)} is a generator: decorate it with @contextlib.contextmanager")
    return _register(_pushes, hook, "around_push")


def after_run(hook: R) -> R:
    """`hook(run, queue)` is called after each attempt, once its task is settled, where the worker's loop runs.

    With `time_limit` that is the process that watches the handler's. One that fails is logged, and ends nothing.
    """
    return _register(_after, hook, "after_run")


def after_claim(hook: C) -> C:
    """`hook(tasks, queue, took)` is called after each claim of a worker that got any, where the worker's loop runs.

    `took` is how long the call lasted, waiting and the settling that went with it included. One that fails is logged,
    and ends nothing.
    """
    return _register(_claims, hook, "after_claim")


def remove(hook: Callable[..., object]) -> None:
    """It is no hook any more, if it was one."""
    kinds: tuple[list[Any], ...] = (_before, _in_parent, _in_child, _around, _pushes, _after, _claims)
    for hooks in kinds:
        with suppress(ValueError):
            hooks.remove(hook)


@contextmanager
def forking() -> Iterator[None]:
    """A process that will run tasks is forked inside; one hook that fails is logged, and ends nothing."""
    _call(reversed(_before.copy()), "before_fork")
    try:
        yield
    finally:
        _call(iter(_in_parent.copy()), "after_fork_in_parent")


def call_after_fork() -> None:
    """This is the forked process, and what is its parent's was let go."""
    _call(iter(_in_child.copy()), "after_fork_in_child")


def run_within(task: CurrentTask, handler: Callable[[], None]) -> None:
    """The handler has run, inside the context managers of all hooks around a task."""
    if not _around:
        handler()
        return
    with ExitStack() as stack:
        for hook in _around.copy():
            stack.enter_context(_manager(hook, task))
        handler()


def push_within(queue: str, count: int, headers: Mapping[str, str] | None, push: Push) -> list[Pushed]:
    """What `push` answers, given the headers, inside the context managers of all hooks around a push."""
    if not _pushes or not count or not isinstance(headers, Mapping | None):
        return push(headers)
    pushing = Pushing(queue, count, dict(headers or {}))
    with ExitStack() as stack:
        for hook in _pushes.copy():
            stack.enter_context(_manager(hook, pushing, "around_push"))
        pushing.pushed = push(pushing.headers or None)
    return pushing.pushed


def tell_run(run: Run, queue: str) -> None:
    """All hooks after a run were called; one that fails is logged."""
    if _after:
        _call((partial(hook, run, queue) for hook in _after.copy()), "after_run")


def tell_claim(tasks: Iterable[Task], queue: str, took: Callable[[], timedelta]) -> None:
    """All hooks after a claim were called, where there was a task; one that fails is logged."""
    if _claims and (claimed := list(tasks)):
        lasted = took()
        _call((partial(hook, list(claimed), queue, lasted) for hook in _claims.copy()), "after_claim")


def _manager(hook: Callable[[Any], Any], task: object, what: str = "around_task") -> AbstractContextManager[Any]:
    made: AbstractContextManager[Any] = hook(task)
    if not (hasattr(type(made), "__enter__") and hasattr(type(made), "__exit__")):
        also = "; an asynchronous one has no loop to run on here" if hasattr(type(made), "__aenter__") else ""
        raise TypeError(
            f"{what}: {_name(hook)} returned {type_name(made)}, expected a context manager: decorate it with "
            f"@contextlib.contextmanager{also}"
        )
    return made


def _register(hooks: list[Any], hook: Hook, what: str) -> Hook:
    if not callable(hook):
        raise TypeError(f"{what}: expected a function, got {type_name(hook)}")
    if iscoroutinefunction(hook) or isasyncgenfunction(hook):
        raise TypeError(f"{what}: {_name(hook)} is asynchronous, and there is no event loop where it is called")
    if hook not in hooks:
        hooks.append(hook)
    return hook


def _call(hooks: Iterable[ForkHook], what: str) -> None:
    for hook in hooks:
        try:
            hook()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f"{what}: {_name(hook)} failed, and lowq goes on: {in_full(error)}"
            _say(text)


def _say(text: str) -> None:
    try:
        if _log.hasHandlers():
            _log.error("%s", text)
        elif sys.stderr is not None:
            sys.stderr.write(f"lowq: {text}\n")
    except KeyboardInterrupt:
        raise
    except BaseException:  # of a handler of the program's own log
        return


def _name(hook: object) -> str:
    """How the hook is called, also one that does not say it."""
    try:
        hook = getattr(hook, "func", hook)
        return str(getattr(hook, "__qualname__", None) or repr(hook))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return type_name(hook)
