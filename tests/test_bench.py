"""The bench measures every queue under the same durability, and its raw SQLite still fits lowq's tables."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from lowq_conformance.contract.promises import PROMISES

from bench.power import matrix_of_less

ROOT = Path(__file__).parent.parent
SUBJECTS = {"raw SQLite", "raw, as lowq", "lowq", "huey", "litequeue", "persist-queue", "diskcache"}


def said(bench: str, *words: str) -> str:
    """What the bench, which ended well, wrote to standard output."""
    done = subprocess.run(
        [sys.executable, "-m", bench, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_quick_run_tells_a_figure_and_the_settings_of_every_queue(tmp_path: Path) -> None:
    measures = [word for name in ("push", "above", "batch", "claim", "inline") for word in ("--only", name)]

    report = json.loads(said("bench.queues", "--quick", "--json", "--folder", str(tmp_path), *measures))
    told = {figures["title"]: set(figures["subjects"]) for figures in report["figures"]}
    assert {peer["settings"] for peer in report["peers"].values()} == {"journal_mode=wal, synchronous=FULL"}
    assert told == {
        "push, one by one": SUBJECTS,
        "push, what it costs above its statement": {"the statement", "lowq", "the same, by hand", "codec"},
        "push, 1000 in one transaction": {"raw SQLite", "raw, as lowq", "lowq"},
        "claim, then ack": SUBJECTS,
        "ack and the next claim in one transaction": {"raw SQLite", "raw, as lowq", "lowq"},
        "inline: push one, run it": {"raw SQLite", "lowq", "lowq in memory", "huey, immediate"},
    }
    assert all(s["median"] > 0 for figures in report["figures"] for s in figures["subjects"].values())


def test_a_quick_run_of_the_directory_tells_a_figure_of_every_queue(tmp_path: Path) -> None:
    words = ["--quick", "--json", "--durability", "process", "--folder", str(tmp_path)]

    report = json.loads(said("bench.files", *words))
    told = {figures["title"]: set(figures["subjects"]) for figures in report["figures"]}
    everyone = {"raw", "lowq, files", "lowq, sqlite", "huey", "persist-queue", "kombu"}
    assert told == {
        "push, one by one": everyone,
        "claim, then ack": everyone,
        "claim among 200 and 2,000": {"200", "2,000"},
        "open a client, and its first claim, among 200 and 2,000": {"200", "2,000"},
    }
    assert all(s["median"] > 0 for figures in report["figures"] for s in figures["subjects"].values())


def test_a_quick_run_of_the_toolkit_names_what_is_missing(tmp_path: Path) -> None:
    measures = ["--only", "inline", "--only", "fixture"]

    report = json.loads(said("bench.toolkit", "--quick", "--json", "--folder", str(tmp_path), *measures))
    for figures in report["figures"]:
        assert {"raw SQLite", "lowq", "huey immediate"} <= set(figures["subjects"])
        assert all(subject["median"] > 0 and subject["ratio"] > 0 for subject in figures["subjects"].values())
    assert len(report["subjects"]) + len(report["missing"]) == 9
    assert not set(report["subjects"]) & set(report["missing"])


def test_what_the_suite_catches_is_told_and_a_run_that_is_in_the_file_is_not_made_again(tmp_path: Path) -> None:
    results, figures = tmp_path / "results.jsonl", tmp_path / "figures.json"
    words = ["--broken", "--seeds", "1", "--only", "LIFO", "--results", str(results)]

    for _ in range(2):
        said("bench.power", *words, "--json", str(figures))

    (told,) = json.loads(figures.read_text())["broken"]
    assert (told["queue"], told["caught"], told["seeds"]) == ("LIFO", 1, 1)
    assert len(results.read_text().splitlines()) == 1


def test_what_sound_queues_lack_can_be_looked_at_once_promises_first() -> None:
    choices = {"only": (), "clauses": (), "profile": "default", "first": 3, "runs": 1}
    every = matrix_of_less(Namespace(**choices, pairs=True, once=False))

    once = [name.split(".") for name in matrix_of_less(Namespace(**choices, pairs=True, once=True))]
    lacks = [frozenset(words) for _, *words in once]

    assert len(lacks) == len(set(lacks))
    assert set(lacks) == {frozenset(name.split(".")[1:]) for name in every}
    promised = [words <= PROMISES.keys() for words in lacks]
    assert promised == sorted(promised, reverse=True)
    assert {queue for queue, *words in once if not {"persistent", "processes", "crash"} & {*words}} == {"Memory"}


def test_a_quick_run_on_a_server_tells_a_figure_of_lowq_and_of_the_same_by_hand() -> None:
    words = ["--quick", "--json", "--durability", "process", "--server", "valkey"]
    words += ["--only", "batch", "--only", "claim"]

    report = json.loads(said("bench.servers", *words))
    told = {figures["title"]: figures["subjects"] for figures in report["figures"]}
    assert set(told) == {"push, 100 in one transaction", "claim, then ack, 1 at once"}
    for subjects in told.values():
        assert {"by hand", "lowq"} <= set(subjects)
        assert all(subject["median"] > 0 and subject["speed"] > 0 for subject in subjects.values())
