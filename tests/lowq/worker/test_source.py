"""A worker that runs old code after a deploy says so, whichever file of the program was changed, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lowq.worker import source
from lowq.worker.source import Source, source_of

Load = Callable[[str], object]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports a program's module; what was seen is believed for no time."""
    monkeypatch.setattr(source, "_PAUSE", timedelta(0))
    for name in (
        "deployed_shop/__init__.py",
        "deployed_shop/tasks.py",
        "deployed_shop/deep/mail.py",
        "deployed_one.py",
    ):
        for folder in (tmp_path / "app", tmp_path / "site-packages"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("from lowq import task_queue\n\ndef handler(work): ...\n")
    (tmp_path / "app" / "deployed_helper.py").write_text("")
    (tmp_path / "site-packages" / "deployed_helper.py").write_text("")
    before = set(sys.modules)

    def load(name: str) -> object:
        __import__(name)
        return sys.modules[name]

    yield load
    for name in set(sys.modules) - before:
        if name.startswith("deployed_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("place", "module", "others", "changed", "seen"),
    [
        ("app", "deployed_one", [], "deployed_one.py", True),
        ("app", "deployed_one", ["deployed_helper"], "deployed_helper.py", True),
        ("app", "deployed_one", [], "deployed_helper.py", False),  # which it has not loaded
        ("app", "deployed_shop.tasks", ["deployed_shop.deep.mail"], "deployed_shop/deep/mail.py", True),
        ("app", "deployed_shop.tasks", ["deployed_helper"], "deployed_helper.py", True),
        ("app", "deployed_shop", ["deployed_shop.tasks"], "deployed_shop/tasks.py", True),
        ("site-packages", "deployed_shop.tasks", ["deployed_shop.deep.mail"], "deployed_shop/deep/mail.py", True),
        ("site-packages", "deployed_shop", ["deployed_shop.tasks"], "deployed_shop/tasks.py", True),
        ("site-packages", "deployed_shop.tasks", ["deployed_helper"], "deployed_helper.py", False),
        ("site-packages", "deployed_one", [], "deployed_one.py", True),
        ("site-packages", "deployed_one", ["deployed_helper"], "deployed_helper.py", False),
    ],
)
def test_a_file_of_the_program_that_changed_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Load,
    place: str,
    module: str,
    others: list[str],
    changed: str,
    seen: bool,
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / place))
    handler = load(module).handler  # type: ignore[attr-defined]  # of the module above
    for other in others:
        load(other)
    found = Source(handler)
    found.begin()
    assert found.find_changed() is None

    file = tmp_path / place / changed
    file.write_text("# another\n")

    assert found.find_changed() == (str(file) if seen else None)


def replaced(file: Path) -> None:
    new = file.with_name("new")
    new.write_text(file.read_text())
    os.utime(new, (1, 1))
    new.replace(file)


@pytest.mark.parametrize(
    ("change", "seen"),
    [(replaced, True), (os.utime, True), (Path.unlink, False)],
    ids=["replaced", "touched", "gone"],
)
def test_however_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, change: Callable[[Path], None], seen: bool
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "app"))
    found = Source(load("deployed_one").handler)  # type: ignore[attr-defined]  # of the module above

    change(tmp_path / "app" / "deployed_one.py")

    assert (found.find_changed() is not None) is seen


def test_what_a_queue_was_declared_with_counts_not_what_was_there_when_a_worker_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    file = tmp_path / "app" / "deployed_one.py"
    file.write_text("from lowq import task_queue\n\n@task_queue('jobs.db')\ndef handler(queue, work): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "app"))
    queue = load("deployed_one").handler.queue  # type: ignore[attr-defined]  # of the module above

    file.write_text("# deployed, and the program not restarted\n")

    found = source_of(queue.worker().handler)
    found.begin()
    assert found.find_changed() == str(file)
    queue.close()


@pytest.mark.parametrize("handler", [print, len, lambda _work: None], ids=["print", "len", "lambda"])
def test_what_has_no_file_never_changes(handler: Callable[..., object]) -> None:
    if handler.__module__ == "builtins":
        found = Source(handler)
        found.begin()

        assert found.find_changed() is None
    else:
        assert Source(handler).find_changed() is None


@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one", "processes"])
def test_lowq_work_says_so_once(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "shop.py").write_text(
        "import pathlib\nimport lowq\n\n@lowq.task_queue('jobs.db')\ndef send(queue, work):\n"
        "    pathlib.Path(__file__).write_text('# deployed')\n\nsend.queue.push(1, 2, 3)\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "lowq", "work", "shop", "--drain", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stderr.count("shop.py has changed, and this worker runs what it was: restart it") == 1
