"""`lowq check --history FILE` as it is typed: the examples, the options, and what cannot be read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from lowq_conformance.checker.judge import SMALL
from lowq_conformance.checker.judge import check as judged
from lowq_conformance.history.jsonlines import read
from lowq_conformance.history.spec import Spec
from lowq_conformance.run.command import check

ROOT = Path(__file__).parents[3]
GOOD = str(ROOT / "examples" / "histories" / "good.jsonl")
BAD = str(ROOT / "examples" / "histories" / "bad.jsonl")

PUSH = {"process": "a", "op": "push", "call": 0, "ret": 1, "work": 1, "added": True}
LATER = {"process": "a", "op": "push", "call": 2, "ret": 3, "work": 2, "added": True}
NEWEST = {"process": "b", "op": "claim", "call": 4, "ret": 5, "work": 2}


def history(folder: Path, *lines: object) -> str:
    file = folder / "history.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(file)


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(check, ["--history", *arguments], env={"COLUMNS": "200"})


def verdict(*arguments: str) -> str:
    return str(json.loads(typed(*arguments, "--json", "-").stdout)["verdict"])


def test_the_good_example_is_proved() -> None:
    done = typed(GOOD)

    assert done.exit_code == 0, done.output
    assert re.search(r"good\.jsonl: proved \(11 operations, 1 of them unknown\) in \d+\.\d s", done.output)


def test_the_bad_example_is_shown_as_a_timeline_and_a_sentence() -> None:
    done = typed(BAD)

    assert done.exit_code == 1, done.output
    assert "claimed twice (DELIVER-3)" in done.output
    assert '|claim:{"mail":"ann"} for 30!|' in done.output
    assert "at best 2 of 3 completed operations fit in an order" in done.output


def test_lowq_check_takes_a_history_file() -> None:
    command = [sys.executable, "-m", "lowq", "check", "--history", BAD]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 1, done.stderr
    assert "bad.jsonl: bad (9 operations)" in done.stdout


def test_the_json_has_the_proof_as_a_history_that_is_bad_by_itself() -> None:
    told = json.loads(typed(BAD, "--json", "-").stdout)

    assert (told["verdict"], told["operations"], told["unknown"]) == ("bad", 9, 0)
    (fault,) = told["faults"]
    ops, _ = read(map(json.dumps, fault["ops"]))
    assert judged(ops, Spec(**told["spec"])).verdict == "bad"


def test_a_long_history_without_a_fault_is_not_refuted_and_never_called_proved(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    for at in range(SMALL // 2 + 1):
        lines.append({**PUSH, "call": 4 * at, "ret": 4 * at + 1, "work": at})
        lines.append({**NEWEST, "call": 4 * at + 2, "ret": 4 * at + 3, "work": at})
    done = typed(history(tmp_path, *lines))

    assert done.exit_code == 0
    assert f"not refuted ({len(lines)} operations)" in done.output
    assert "proved" not in done.output


@pytest.mark.parametrize(
    ("lines", "options", "without", "with_them"),
    [
        ([PUSH, LATER, NEWEST], ["--promise", "priority"], "bad", "proved"),
        ([{"spec": {"fifo": False}}, PUSH, LATER, NEWEST], ["--promise", "fifo"], "proved", "bad"),
        ([PUSH, {**PUSH, "call": 2, "ret": 3}], ["--dedupe", "until_done"], "proved", "bad"),
        (
            [PUSH, {**NEWEST, "work": 1}, {**NEWEST, "work": 1, "call": 40, "ret": 41}],
            ["--lease", "30"],
            "bad",
            "proved",
        ),
        (
            [PUSH, {**NEWEST, "work": 1, "lease": 2}, {**NEWEST, "work": None, "empty": True, "call": 40, "ret": 41}],
            ["--grace", "5"],
            "proved",
            "bad",
        ),
        ([{**PUSH, "not_before": 6}, {**NEWEST, "work": 1}], ["--eps", "2"], "bad", "proved"),
    ],
    ids=["promise", "promise over spec", "dedupe", "lease", "grace", "eps"],
)
def test_what_the_queue_promises_decides(
    tmp_path: Path, lines: list[dict[str, Any]], options: list[str], without: str, with_them: str
) -> None:
    lines = [{k: v for k, v in line.items() if not (k == "work" and v is None)} for line in lines]
    file = history(tmp_path, *lines)

    assert verdict(file) == without
    assert verdict(file, *options) == with_them


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"process": "a"\n', "line 1: expected JSON"),
        (b"\n[1]\n", "line 2: expected an object, got [1]"),
        (b'{"process": "\xff"}\n', "line 1: expected UTF-8: invalid start byte at byte 14"),
        (json.dumps({**PUSH, "retrun": 1}).encode(), "line 1: push has no word 'retrun'"),
        (json.dumps({**PUSH, "priority": "high"}).encode(), "line 1: priority: expected a whole number, got 'high'"),
        (json.dumps({**PUSH, "call": 10**400}).encode(), "line 1: "),
        (b"[" * 100_000, "line 1: "),
        (b'{"spec": {"dedupe": "always"}}', "line 1: spec: dedupe: expected one of"),
        (b'{"spec": {"grace": -1}}', "line 1: spec: grace: expected 0 or more, got -1"),
        (
            (json.dumps({**PUSH, "name": 1}) + "\n" + json.dumps({**NEWEST, "name": 1})).encode(),
            "line 2: name: line 1",
        ),
        (
            (json.dumps(PUSH) + "\n" + json.dumps({**LATER, "call": 0.5})).encode(),
            "line 2: a called it while its line 1",
        ),
        (b"", "there is no operation in it"),
    ],
)
def test_what_cannot_be_read_leaves_with_2_and_one_line_that_says_where(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "history.jsonl"
    file.write_bytes(content)
    done = typed(str(file))

    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"{file}: {said}" in done.stderr


def test_a_file_that_is_not_there_leaves_with_2() -> None:
    done = typed("/nowhere/history.jsonl")

    assert done.exit_code == 2
    assert done.stderr == "lowq check: /nowhere/history.jsonl cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [["memory", "--history", GOOD], ["--history", GOOD, "--seed", "1"], ["memory", "--lease", "3"], []],
    ids=["target", "seed", "no history", "nothing"],
)
def test_what_makes_no_sense_together_is_misuse(arguments: list[str]) -> None:
    assert CliRunner().invoke(check, arguments).exit_code == 2


def test_a_name_that_would_drive_a_terminal_is_spelt_out(tmp_path: Path) -> None:
    file = history(tmp_path, PUSH, LATER, {**NEWEST, "process": "\x1b]0;owned\x07\u202e"})
    done = typed(file)

    assert done.exit_code == 1
    assert "\x1b]0;" not in done.output
    assert "\\x1b]0;owned\\x07\\u202e" in done.output


def test_the_document_and_the_reader_agree_on_every_word() -> None:
    document = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(\{\"spec.*?)^```$", document, re.M | re.S)
    ops, spec = read(example.splitlines())
    words = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \| (?:all|push|claim|ack)", document, re.M)))
    )

    assert judged(ops, spec or Spec()).verdict == "proved"
    with pytest.raises(ValueError, match="line 1") as caught:
        read([json.dumps({**PUSH, "strange": 1})])
    known = set(str(caught.value).partition("expected some of ")[2].split(", "))
    assert known <= words


def test_the_document_shows_every_word_of_the_json() -> None:
    document = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(\{\"history.*?)^```$", document, re.M | re.S)
    shown, told = json.loads(example), json.loads(typed(BAD, "--json", "-").stdout)
    fault = told["faults"][0]

    assert (shown.keys(), shown["faults"][0].keys()) == (told.keys(), fault.keys())
    assert fault["culprit"] in [op["name"] for op in fault["ops"]]
