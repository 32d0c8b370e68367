"""The page of a run: whole, by itself, readable without a script, and nothing of a stranger's becomes markup."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conformance.pages import Page
from lowq_conformance.checker.judge import check
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec
from lowq_conformance.report.page import page
from lowq_conformance.report.report import Report
from lowq_conformance.report.stylesheet import STYLE
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.command import check as command

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
HARNESSES = Path(__file__).parent.with_name("harnesses.py")
EXAMPLES = Path(__file__).parents[3] / "examples" / "histories"
EVIL = "<script>alert(1)</script>\x00\x1b[31m\"' onload=x &amp; \u202e\ud800"


def fault(work: str = '"w"', process: str = "c1") -> Counterexample:
    """A push that was acknowledged by a process which was killed then, and was lost."""
    ms = 1_000_000
    ops = [
        Op(0, process, "push", 0, 2 * ms, "added", work, work, killed=3 * ms),
        Op(1, "c2", "claim", 5 * ms, 6 * ms, "empty"),
    ]
    return check(ops, Spec()).faults[0]


def a_report(target: str = "module:Queue", sides: tuple[Any, ...] = (), ids: Any = CLAUSES) -> Report:
    run = Tally(target, 7, frozenset(ids), (), {"CLOSE-1": "close"})
    for number, side in enumerate(sides):
        run.saw(f"test {number}", [side])
    return run.report()


BROKEN = Verdict.BROKEN.value
SIDES = (
    ("ORDER-1", BROKEN, "q.claim()  # 'b', expected 'a'"),
    ("RACE-2", BROKEN, "a timeline", fault().as_json()),
    ("DELIVER-1", Verdict.KEPT.value, ""),
)


def made(*reports: Report) -> Page:
    return Page(page(reports, "lowq check module:Queue", NOW))


def test_every_clause_is_on_the_page_with_its_words_and_its_verdict() -> None:
    report = a_report(sides=SIDES)
    told = made(report)

    assert told.faults == []
    for clause in report.clauses:
        assert f"{clause.id}{clause.text}" in told.text.replace("\n", "")
    assert told.text.count("✓ kept") == 1
    assert told.text.count("✗ broken") == 1 + 2
    assert told.text.count("not promised") >= 1
    assert "needs close" in told.text


def test_a_broken_clause_has_its_calls_its_seed_and_the_command_to_run_it_again() -> None:
    told = made(a_report(sides=SIDES))

    assert "target0-ORDER-1" in told.ids
    assert "q.claim()  # 'b', expected 'a'" in told.text
    assert "lowq check module:Queue --only ORDER-1 --seed 7" in told.text


def test_what_many_clients_broke_is_a_picture_and_the_same_in_words() -> None:
    told = made(a_report(sides=SIDES))

    (picture,) = told.all("svg")
    assert (picture["role"], picture["aria-describedby"]) == ("img", "target0-RACE-2-operations")
    assert "c2: claim:empty; called at 5 ms, returned at 6 ms; no order explains this answer" in told.text
    assert "c1 was killed; seen dead at 3 ms" in told.text
    assert "! no order explains this answer" in told.text
    assert "Why no order explains it: at best 1 of 2 completed operations" in told.text
    assert ("tr", {"class": "guilty"}) in told.tags


def test_a_page_begins_with_what_is_broken_then_what_is_known_then_every_clause() -> None:
    run = Tally("module:Queue", 7, frozenset(CLAUSES), (), {"CLOSE-1": "close"})
    run.known = {"ORDER-1": Fault("https://example.org/issues/167"), "ORDER-2": Fault("javascript:alert(1)")}
    run.saw("one", [("RACE-2", BROKEN, "a timeline", fault().as_json())])
    run.saw("two", [("ORDER-1", BROKEN, "q.claim()"), ("ORDER-2", BROKEN, "q.claim()"), ("DELIVER-1", "kept", "")])
    told = made(run.report(), run.report())

    places = [told.text.index(part) for part in ("✗ RACE-2", "~ ORDER-1", "Clauses by target", "DELIVER-1")]
    assert places == sorted(places)
    assert (told.faults, told.asks_for()) == ([], [])
    assert {"https://example.org/issues/167"} == set(told.leads_nowhere())
    assert "known: javascript:alert(1)" in told.text


def test_a_page_says_how_rare_a_race_would_have_been_met() -> None:
    effort = Effort("proved", 1842, 3, 0, 2.5).as_json()
    told = made(a_report(sides=(("RACE-1", "kept", "", None, effort),)))

    assert "a race that one call in 400 meets would have been met with 99 %" in told.text


def test_a_page_can_leave_out_what_is_not_promised() -> None:
    reports = [a_report(sides=SIDES), a_report("module:Other", sides=SIDES)]
    for shown in (reports[:1], reports):
        told = Page(page(shown, "lowq check", NOW, hide_not_promised=True))

        assert "CLOSE-1" not in told.text
        assert "Not promised, and hidden: 1 clause." in told.text
        assert (told.faults, told.leads_nowhere()) == ([], [])


def test_a_page_asks_for_nothing_and_runs_nothing() -> None:
    told = made(a_report(sides=SIDES), a_report("module:Other"))

    assert told.asks_for() == []
    assert told.leads_nowhere() == []


def test_a_page_can_be_read_aloud() -> None:
    told = made(a_report(sides=SIDES))

    assert told.all("html") == [{"lang": "en"}]
    assert len(told.all("h1")) == len(told.all("main")) == 1
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in told.all("th"))
    assert len(told.all("caption")) == len(told.all("table"))


def test_several_targets_are_a_matrix_whose_every_cell_leads_to_its_evidence() -> None:
    reports = [a_report(f"module:Queue{number}", sides=SIDES) for number in range(3)]
    told = made(*reports)

    links = {each["href"] for each in told.all("a")}
    assert told.faults == []
    assert {f"#target{number}-{clause.id}" for number in range(3) for clause in reports[0].clauses} <= links
    assert told.leads_nowhere() == []


def test_nothing_of_a_stranger_becomes_markup() -> None:
    nasty = fault(json.dumps(EVIL), process=EVIL).as_json()
    sides = (("ORDER-1", BROKEN, EVIL), ("ORDER-2", "not observed", EVIL), ("RACE-2", BROKEN, EVIL, nasty))
    one, two = (made(*[a_report(EVIL, sides)] * number) for number in (1, 2))

    for told in (one, two):
        assert told.faults == []
        assert told.asks_for() == []
        assert "<script>alert(1)</script>\\x00\\x1b[31m\"' onload=x &amp; \\u202e\\ud800" in told.text
        assert not {"\x00", "\x1b", "\u202e", "\ud800"} & set(told.source)
        told.source.encode("utf-8")


def test_megabytes_are_cut_with_a_note() -> None:
    long = "x" * 3_000_000
    sides = (("ORDER-1", BROKEN, long), ("RACE-2", BROKEN, long, fault(json.dumps(long)).as_json()))
    told = made(a_report(sides=sides))

    assert len(told.source) < 200_000
    assert "more…" in told.text


def test_a_page_says_that_the_run_was_interrupted() -> None:
    run = Tally("module:Queue", 7, frozenset({"ORDER-1"}), (), interrupted=True)

    assert "The run was interrupted" in made(run.report()).text


def test_a_judged_history_has_a_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    done = CliRunner().invoke(command, ["--history", str(EXAMPLES / "bad.jsonl"), "--html", str(file)])
    told = Page(file.read_text(encoding="utf-8"))

    assert done.exit_code == 1, done.output
    assert (told.faults, told.asks_for(), told.leads_nowhere()) == ([], [], [])
    assert "✗ bad" in told.text
    assert "claimed twice (DELIVER-3)" in told.text
    assert len(told.all("svg")) == 1


def test_a_check_writes_its_page_as_the_umask_says(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("an older one")
    target = f"{HARNESSES}:LastFirst"
    done = CliRunner().invoke(command, [target, "--only", "ORDER-1", "--seed", "5", "--html", str(file)])
    told = Page(file.read_text(encoding="utf-8"))
    mask = os.umask(0)
    os.umask(mask)

    assert done.exit_code == 1, done.output
    assert f"lowq check: {target}" in told.text
    assert "expected 'a'" in told.text
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["page.html"]


def test_what_a_run_of_many_clients_found_reaches_the_page_as_a_picture(tmp_path: Path) -> None:
    file, said = tmp_path / "page.html", tmp_path / "report.json"
    target = "lowq_conformance.queues.broken.race:SelectsThenUpdates"
    arguments = [target, "--only", "RACE-1", "--seed", "3", "--html", str(file), "--json", str(said)]
    done = CliRunner().invoke(command, arguments)
    told = Page(file.read_text(encoding="utf-8"))

    assert done.exit_code == 1, done.output
    assert len(told.all("svg")) == 1
    assert "was handed out again while its lease ran" in told.text
    assert "at best" in json.loads(said.read_text())["clauses"][0]["evidence"]


@pytest.mark.parametrize("place", ["nowhere/page.html", ".", "pipe", "nul\0"])
def test_a_page_that_cannot_be_written_is_an_error_before_the_run(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(*_: Any, **__: Any) -> None:
        raise AssertionError("the run began")

    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("lowq_conformance.run.command.run", ran)
    done = CliRunner().invoke(command, ["memory", "--html", f"{tmp_path}/{place}"])

    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_run_that_fails_leaves_the_older_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("an older one")
    done = CliRunner().invoke(command, ["no_such_module:Queue", "--html", str(file)])

    assert done.exit_code == 2
    assert file.read_text() == "an older one"
    assert os.listdir(tmp_path) == ["page.html"]


def test_colours_stand_out_from_what_is_behind_them_light_and_dark() -> None:
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part.partition("* {")[0]))
        for part in STYLE.split("prefers-color-scheme: dark")[:2]
    ]

    for theme in themes:
        weak = [
            (front, back)
            for front in ("fore", "dim", "link", "kept", "broken", "unseen")
            for back in ("back", "box")
            if contrast(theme[front], theme[back]) < 4.5
        ]
        weak += [("fore", back) for back in ("bar", "guilty") if contrast(theme["fore"], theme[back]) < 4.5]
        assert weak == []
    assert themes[0] != themes[1]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 counts it, from 1 to 21."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --hide-scrollbars"
).split()


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome was found on the PATH")
@pytest.mark.parametrize("wide", [360, 1200])
def test_a_browser_shows_all_of_it_in_the_width_there_is(tmp_path: Path, wide: int) -> None:
    assert BROWSER is not None
    long = "q.push(" + "x" * 400 + ")"
    sides = (*SIDES, ("ORDER-2", BROKEN, long))
    source = page([a_report("module:" + "Queue" * 30, sides), a_report("module:Other", sides)], "lowq check", NOW)
    (tmp_path / "page.html").write_text(source, encoding="utf-8")
    (tmp_path / "frame.html").write_text(
        f"""<!doctype html><iframe id="f" src="page.html" style="width:{wide}px;height:800px;border:0"></iframe>
        <p id="found">nothing</p><script>onload = () => {{
        const page = document.getElementById("f").contentDocument, root = page.documentElement;
        const seen = [...page.querySelectorAll("svg .bar")].filter(bar => bar.getBoundingClientRect().width > 10);
        document.getElementById("found").textContent = `${{root.scrollWidth}} ${{root.clientWidth}} ${{seen.length}}`;
        }}</script>"""
    )
    arguments = [BROWSER, *QUIET, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    arguments += ["--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*arguments, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, check=False, timeout=100
    )
    found = done.stdout.partition('<p id="found">')[2].partition("<")[0]

    needed, there_is, bars = map(int, found.split())
    assert there_is == wide
    assert needed <= there_is
    assert bars == 2 * 2
