"""The sample shop: each tool finds its fault, and the mended one stands all of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the sample application."""
    shutil.copytree(SHOP, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return pytester


def test_each_command_of_the_page_finds_its_fault(shop: pytest.Pytester) -> None:
    page = (SHOP / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ pytest (.*?) *(?:#.*)?$", page, re.M)

    assert {command: failed(shop, *command.split()) for command in commands} == {
        "--shop faulty": {
            "test_a_second_delivery_charges_nobody_again",
            "test_a_crash_charges_nobody_again[during]",
            "test_a_crash_charges_nobody_again[after]",
            "test_a_crash_at_any_line_charges_nobody_again",
            "test_a_killed_worker_charges_nobody_again",
        },
        "--shop faulty --lowq-twice -k paid_once": {"test_an_order_is_paid_once"},
        "--shop faulty --lowq-shuffle -k parcel": {"test_no_parcel_leaves_before_it_is_paid"},
        "--lowq-twice --lowq-shuffle": set(),
    }


def failed(shop: pytest.Pytester, *arguments: str) -> set[str]:
    """The tests of the shop that fail; some were run."""
    result = shop.runpytest_subprocess("-p", "no:randomly", "-rf", *arguments, timeout=120)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return set(re.findall(r"^FAILED \S+?::(\S+)", result.stdout.str(), re.M))
