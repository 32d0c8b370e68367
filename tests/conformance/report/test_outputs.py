"""What other tools read of a check: JUnit's XML, a badge, the summary of a step; and the files of each."""

from __future__ import annotations

import json
import os
import re
import stat
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conformance.report.test_page import contrast
from lowq_conformance.contract.known import Fault
from lowq_conformance.report.badge import BACK, COLOURS, FORE, draw_badge
from lowq_conformance.report.junit import write_junit
from lowq_conformance.report.report import Report
from lowq_conformance.report.step_summary import summarize
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.command import check as command
from lowq_conformance.run.outputs import STEP_SUMMARY, add_step_summary

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
URL = "https://example.org/issues/167"
HARNESSES = Path(__file__).parent.with_name("harnesses.py")
EVIL = "]]><script>alert(1)</script>\x00\x1b[31m```\n`````\n| @somebody ![x](http://evil) <!-- \ud800"


def a_report(
    *sides: tuple[str, str, str],
    known: dict[str, Fault] | None = None,
    target: str = "module:Queue",
    trouble: str = "",
    lacks: dict[str, str] | None = None,
) -> Report:
    ids = {id for id, _, _ in sides} | set(lacks or {})
    run = Tally(target, 7, frozenset(ids), (), lacks or {}, known=known or {}, trouble=trouble)
    for number, side in enumerate(sides):
        run.planned[f"test {number}"] = (side[0],)
        run.saw(f"test {number}", [side], seconds=1.5)
    return run.report()


EVERY = a_report(
    ("ORDER-1", "kept", ""),
    ("ORDER-2", "broken", "q.claim()  # 'b', expected 'a'"),
    ("ORDER-3", "not observed", "nobody raced"),
    ("ORDER-4", "broken", "q.push()"),
    ("ORDER-5", "kept", ""),
    known={"ORDER-4": Fault(URL), "ORDER-5": Fault(URL)},
    lacks={"CLOSE-1": "close"},
)

ATTRIBUTES = {
    "testsuites": ({}, {}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "timestamp", "hostname", "package", "id"},
        {"skipped"},
    ),
    "properties": ({}, {}),
    "property": ({"name", "value"}, {}),
    "testcase": ({"name", "classname", "time"}, {}),
    "failure": ({"type"}, {"message"}),
    "error": ({"type"}, {"message"}),
    "skipped": ({}, {"message"}),
    "system-out": ({}, {}),
    "system-err": ({}, {}),
}
CHILDREN = {
    "testsuites": "(testsuite )*",
    "testsuite": "properties (testcase )*system-out system-err ",
    "properties": "(property )*",
    "testcase": "(skipped |error |failure )?",
}
"""Of JUnit's schema, in Ant's stricter form, what a report can have: attributes it must and may have, children."""


STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def schema_faults(element: ET.Element) -> list[str]:
    must, may = ATTRIBUTES[element.tag]
    found = [f"{element.tag} lacks {name}" for name in must if name not in element.attrib]
    found += [f"{element.tag} has {name}" for name in element.attrib if name not in {*must, *may}]
    children = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(CHILDREN.get(element.tag, ""), children):
        found.append(f"{element.tag} has within {children}")
    if element.tag == "testsuite" and not re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", element.attrib["timestamp"]
    ):
        found.append("timestamp")
    return found + [fault for child in element for fault in schema_faults(child)]


@pytest.mark.parametrize(
    "reports",
    [
        [EVERY],
        [EVERY, a_report(("ORDER-1", "broken", EVIL), target=EVIL, known={"ORDER-1": Fault(URL)})],
        [a_report(trouble="it is no harness\nat all")],
        [a_report(("RACE-1", "broken", EVIL), target=EVIL)],
    ],
)
def test_junit_is_valid_by_its_schema_and_counts_what_it_has(reports: list[Report]) -> None:
    root = ET.fromstring(write_junit(reports, NOW))

    assert schema_faults(root) == []
    for suite in root:
        counted = {word: len(suite.findall(f"testcase/{word}")) for word in ("failure", "error", "skipped")}
        told = {
            word: int(suite.attrib[name])
            for word, name in zip(counted, ("failures", "errors", "skipped"), strict=True)
        }
        assert told == counted
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


def test_junit_says_of_each_clause_what_it_is_and_how_to_see_it_again() -> None:
    (suite,) = ET.fromstring(write_junit([EVERY], NOW))

    cases = {case.attrib["name"].partition(":")[0]: case for case in suite.findall("testcase")}
    said = {id: [(child.tag, child.attrib["message"]) for child in case] for id, case in cases.items()}
    assert said == {
        "ORDER-1": [],
        "ORDER-2": [
            ("failure", "ORDER-2: A push that returned before another began comes out first, whoever pushed")
        ],
        "ORDER-3": [("skipped", "not observed: nobody raced")],
        "ORDER-4": [("skipped", f"known: {URL}")],
        "ORDER-5": [("failure", f"no longer broken: take it out of what is known; known: {URL}")],
        "CLOSE-1": [("skipped", "not promised: needs close")],
    }
    text = cases["ORDER-2"].findtext("failure") or ""
    assert "q.claim()  # 'b', expected 'a'" in text
    assert "again: lowq check module:Queue --only ORDER-2 --seed 7" in text
    assert cases["ORDER-2"].attrib["time"] == "1.500"


PAIR = (("ORDER-1", "broken", "x"), ("ORDER-2", "kept", ""))


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        ([a_report(("ORDER-1", "kept", ""), ("ORDER-2", "kept", ""))], "2 kept"),
        ([a_report(*PAIR), EVERY], "2 broken"),
        (
            [a_report(("ORDER-1", "broken", "x"), ("ORDER-2", "kept", ""), known={"ORDER-1": Fault(URL)})],
            "1 kept, 1 known",
        ),
        ([a_report(("ORDER-1", "kept", ""), known={"ORDER-1": Fault(URL)})], "1 mended"),
        ([a_report(("ORDER-1", "kept", ""), ("ORDER-2", "not observed", ""))], "1 not observed"),
        ([a_report(lacks={"CLOSE-1": "close"})], "nothing was tried"),
        ([a_report(("ORDER-1", "kept", ""), trouble="no harness")], "cannot be checked"),
    ],
)
def test_a_badge_says_the_worst_in_words(reports: list[Report], says: str) -> None:
    badge = draw_badge(reports)
    root = ET.fromstring(badge)

    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert [each.text for each in root.findall(f"{space}text")] == ["lowq check", says]
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", f"lowq check: {says}")
    assert root.findtext(f"{space}title") == f"lowq check: {says}"
    assert "href" not in badge


def test_the_words_of_a_badge_stand_out_from_what_is_behind_them() -> None:
    assert {colour: contrast(FORE, colour) >= 4.5 for colour in (BACK, *COLOURS.values())} == dict.fromkeys(
        (BACK, *COLOURS.values()), True
    )


def test_a_summary_begins_with_what_is_broken() -> None:
    told = summarize([EVERY])

    places = [
        told.index(part)
        for part in (
            "## lowq check `module:Queue`: broken",
            "**ORDER-5** no longer broken",
            "### ✗ ORDER-2: ",
            "q.claim()  # 'b', expected 'a'",
            "again: `lowq check module:Queue --only ORDER-2 --seed 7`",
            "### ~ ORDER-4: ",
            "Not observed: ORDER-3.",
            "| ORDER-1 | ✓ kept |",
        )
    ]
    assert places == sorted(places)
    assert f"known: {URL}" in told.partition("### ~ ORDER-4: ")[2]
    assert "CLOSE-1" not in told


def test_nothing_of_a_stranger_becomes_markup_in_a_summary() -> None:
    told = summarize([a_report(("ORDER-1", "broken", EVIL), ("ORDER-2", "not observed", EVIL), target=EVIL)])

    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", told, flags=re.S)  # of what is shown as it is typed
    bare = re.sub(r"\\[^\w\s]", "", outside)
    assert [mark for mark in ("<script", "![", "[x]", "@somebody", "<!--", "`") if mark in bare] == []
    assert not {"\x00", "\x1b", "\ud800"} & set(told)


def test_a_summary_of_many_long_proofs_stays_far_below_what_github_takes() -> None:
    sides = [(f"ORDER-{number}", "broken", f"{number}" + "x" * 3_000_000) for number in range(1, 12)]
    sides += [(f"DEDUPE-{number}", "broken", f"d{number}" + "x" * 3_000_000) for number in range(1, 13)]

    told = summarize([a_report(*sides)])

    assert len(told.encode()) < 500_000
    assert "Not shown here: " in told


def test_a_check_writes_all_that_is_asked_for_and_adds_to_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("an older step\n")
    monkeypatch.setenv(STEP_SUMMARY, str(summary))
    files = [f"--{name}={tmp_path / name}" for name in ("junit", "badge", "json", "html")]

    done = CliRunner().invoke(command, [f"{HARNESSES}:LastFirst", "--only", "ORDER-1", "--quick", *files])

    assert done.exit_code == 1, done.output
    (suite,) = ET.fromstring((tmp_path / "junit").read_text())
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("1", "1")
    assert float(suite[1].attrib["time"]) > 0
    assert "1 broken" in (tmp_path / "badge").read_text()
    assert json.loads((tmp_path / "json").read_text())["verdict"] == "broken"
    assert summary.read_text().startswith("an older step\n## lowq check")
    assert sorted(os.listdir(tmp_path)) == ["badge", "html", "json", "junit", "summary.md"]


@pytest.mark.parametrize("option", ["--json", "--junit", "--badge", "--html"])
def test_a_file_that_cannot_be_written_is_an_error_before_the_run(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(*_: Any, **__: Any) -> None:
        raise AssertionError("the run began")

    monkeypatch.setattr("lowq_conformance.run.command.run", ran)
    older = tmp_path / "older.html"
    older.write_text("an older one")
    done = CliRunner().invoke(command, ["memory", "--html", str(older), option, f"{tmp_path}/nowhere/file"])

    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (older.read_text(), os.listdir(tmp_path)) == ("an older one", ["older.html"])


def test_a_run_that_fails_leaves_the_older_files(tmp_path: Path) -> None:
    names = ["badge", "json", "junit"]
    for name in names:
        (tmp_path / name).write_text("an older one")
    files = [f"--{name}={tmp_path / name}" for name in names]
    done = CliRunner().invoke(command, ["no_such_module:Queue", *files])

    assert done.exit_code == 2
    assert {(tmp_path / name).read_text() for name in names} == {"an older one"}
    assert sorted(os.listdir(tmp_path)) == names


@pytest.mark.parametrize("option", ["--junit", "--badge", "--known", "--sometimes"])
def test_what_is_about_a_queue_is_refused_with_a_history(option: str) -> None:
    done = CliRunner().invoke(command, ["--history", "h.jsonl", option, "ORDER-1=x"])

    assert done.exit_code == 2
    assert "--history takes no TARGET" in done.stderr


def test_a_summary_that_cannot_be_added_is_told_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STEP_SUMMARY, str(tmp_path / "nowhere" / "summary.md"))

    add_step_summary(lambda: "a summary")

    assert "the summary cannot be added to" in capsys.readouterr().err


def test_a_files_mode_is_as_the_umask_says(tmp_path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    CliRunner().invoke(command, ["--history", "nowhere.jsonl", "--json", str(tmp_path / "report.json")])
    history = Path(__file__).parents[3] / "examples" / "histories" / "bad.jsonl"
    CliRunner().invoke(command, ["--history", str(history), "--json", str(tmp_path / "report.json")])

    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["report.json"]
