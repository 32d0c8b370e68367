"""The options of the conformance suite, and its plugin where a target is given.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from importlib import import_module

import pytest


def add_options(parser: pytest.Parser) -> None:
    """`--lowq-harness` and what goes with it."""
    group = parser.getgroup("lowq", "lowq: check a queue with `pytest --pyargs lowq_conformance`")
    group.addoption(
        "--lowq-harness",
        dest="lowq_harness",
        metavar="TARGET",
        help="The queue to check: module:Harness, path/to/file.py:Harness, a backend URL, sqlite or memory.",
    )
    group.addoption(
        "--lowq-only",
        dest="lowq_only",
        metavar="CLAUSES",
        action="append",
        default=[],
        help="Only these clauses and groups, such as DEDUPE,ORDER-3. May be repeated.",
    )
    group.addoption(
        "--lowq-promise",
        dest="lowq_promise",
        metavar="PROMISES",
        action="append",
        default=[],
        help="Promises to add to what the target says, such as fifo,persistent. May be repeated.",
    )
    for word, says in (
        ("known", "A clause that is known to be broken, and where that is written down: kept, it fails the run."),
        ("sometimes", "The same of a clause that not every run sees broken: kept, it is kept."),
    ):
        group.addoption(
            f"--lowq-{word}",
            dest=f"lowq_{word}",
            metavar="CLAUSE=URL",
            action="append",
            default=[],
            help=f"{says} May be repeated.",
        )
    for word, says in (
        ("junit", "Write the report as JUnit's XML, one test case a clause; pytest's own has one a test."),
        ("badge", "Write a badge with the verdict, as SVG."),
    ):
        group.addoption(f"--lowq-{word}", dest=f"lowq_{word}", metavar="FILE", help=says)
    group.addoption(
        "--lowq-hide-not-promised",
        dest="lowq_hide_not_promised",
        action="store_true",
        help="The table leaves out what is not promised.",
    )
    group.addoption(
        "--lowq-seed",
        dest="lowq_seed",
        metavar="N",
        type=int,
        help="Repeat a run's random choices. Default: a random one with --lowq-harness and --lowq-shuffle, else 0.",
    )
    group.addoption(
        "--lowq-profile",
        dest="lowq_profile",
        choices=("quick", "default", "thorough"),
        default="default",
        help="How much is looked at: quick, default or thorough. pytest-xdist's -n shares the tests out.",
    )
    group.addoption(
        "--lowq-schedule",
        dest="lowq_schedule",
        metavar="SCHEDULE",
        help="Make this schedule of two clients only, as a report spells it: claim@212,claim.",
    )
    group.addoption(
        "--lowq-journal", dest="lowq_journal", metavar="FILE", help="Keep the calls of the running test in a file."
    )
    group.addoption(
        "--lowq-but",
        dest="lowq_but",
        action="append",
        default=[],
        metavar="TEST",
        help="Leave this test out, and no other whose name begins like it.",
    )


def configure(config: pytest.Config) -> None:
    """The suite's plugin is registered where `--lowq-harness` is given."""
    if config.getoption("lowq_harness", None) and not config.pluginmanager.has_plugin("lowq-conformance"):
        config.pluginmanager.register(import_module("lowq_conformance.run.plugin"), "lowq-conformance")
