"""The guide is true: its application and its tests are run, on SQLite and on another backend."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

BESIDE = ("django",)

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
FILES, OF_DJANGO = (
    dict(re.findall(rf"<!-- {word}: (\S+) -->\n```python\n(.*?)^```$", GUIDE, re.M | re.S))
    for word in ("file", "django")
)

DJANGO = {
    "settings.py": """
SECRET_KEY = "x"
USE_TZ = True
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
""",
    "urls.py": """
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from shop import mail

def signup(request):
    user = User.objects.create(username=request.POST["email"])
    transaction.on_commit(lambda: mail({"to": user.username}))
    return HttpResponse(status=201)

urlpatterns = [path("signup", signup)]
""",
}
"""An application for the guide's page on Django."""


def test_every_python_block_of_the_guide_is_a_file() -> None:
    assert len(FILES) + len(OF_DJANGO) == GUIDE.count("```python") > 0


def test_every_example_of_the_guide_runs(pytester: pytest.Pytester) -> None:
    for name, text in FILES.items():
        (pytester.path / name).write_text(text, encoding="utf-8")

    result = pytester.runpytest_subprocess("-pno:randomly", "-pno:asyncio", "-W", "error", timeout=240)

    # Each on SQLite and in memory; the live worker cannot have the latter, and the twins take no fixture.
    result.assert_outcomes(passed=2 * 11 + 1 + 3, skipped=1, xfailed=2 * 2)


def test_the_example_with_django_runs(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_django")
    for name, text in {"shop.py": FILES["shop.py"], **DJANGO, **OF_DJANGO}.items():
        (pytester.path / name).write_text(text, encoding="utf-8")

    result = pytester.runpytest_subprocess("--ds=settings", timeout=120)

    result.assert_outcomes(passed=1)


def test_the_guide_s_test_case_runs_without_pytest(tmp_path: Path) -> None:
    for name in ("shop.py", "test_unittest.py"):
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_every_setting_is_in_the_guide(pytester: pytest.Pytester) -> None:
    help_text = pytester.runpytest_subprocess("--help", timeout=60).stdout.str()

    ours = set(re.findall(r"--lowq-[a-z-]+", help_text)) - set(re.findall(r"--lowq-[a-z-]+", GUIDE))
    assert ours == {
        "--lowq-harness",
        "--lowq-only",
        "--lowq-profile",
        "--lowq-promise",
        "--lowq-schedule",
        "--lowq-known",
        "--lowq-sometimes",
        "--lowq-junit",
        "--lowq-badge",
        "--lowq-but",
        "--lowq-hide-not-promised",
        "--lowq-journal",
    }
