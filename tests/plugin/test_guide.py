"""The guide is true: its application and its tests are run, on SQLite and on another backend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)^```$", GUIDE, re.M | re.S))


def test_every_python_block_of_the_guide_is_a_file() -> None:
    assert len(FILES) == GUIDE.count("```python") > 0


def test_every_example_of_the_guide_runs(pytester: pytest.Pytester) -> None:
    for name, text in FILES.items():
        (pytester.path / name).write_text(text, encoding="utf-8")

    result = pytester.runpytest_subprocess("-pno:randomly", "-pno:asyncio", "-W", "error", timeout=240)

    # Each on SQLite and in memory; the live worker cannot have the latter, and the twins take no fixture.
    result.assert_outcomes(passed=2 * 8 + 1 + 1, skipped=1, xfailed=2 * 2)


def test_every_setting_is_in_the_guide(pytester: pytest.Pytester) -> None:
    help_text = pytester.runpytest_subprocess("--help", timeout=60).stdout.str()

    ours = set(re.findall(r"--lowq-[a-z-]+", help_text)) - set(re.findall(r"--lowq-[a-z-]+", GUIDE))
    assert ours == {"--lowq-harness", "--lowq-only", "--lowq-promise", "--lowq-journal"}
