"""The settings: a file or a module, and what is said of a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lowq.web import Settings, SettingsError, load


def test_a_file_that_the_environment_names_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lowq.py"
    file.write_text(
        "import os\nfrom datetime import timedelta\n_PRIVATE = 1\nhelper = 2\n"
        "LOCATION = '/tmp/q.db'\nLEASE_FOR = timedelta(minutes=2)\nTOKENS = ['one', 'two']\nDEFAULT_PRIORITY = 5\n"
    )
    monkeypatch.setenv("LOWQ_SETTINGS", str(file))

    assert load() == Settings(
        location="/tmp/q.db", lease_for=timedelta(minutes=2), tokens=("one", "two"), default_priority=5
    )


def test_names_of_the_file_s_own_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "lowq.py"
    file.write_text(
        "hosts = ['a.example.org']\nHOSTS = [*hosts, 'b.example.org']\nhelper = 2\n_READ_ONLYY = 1\n"
        "def name(): ...\nimport os as clock\nLOCATION = '/tmp/q.db'\n"
    )

    assert load(str(file)) == Settings(location="/tmp/q.db", hosts=("a.example.org", "b.example.org"))


def test_a_module_that_the_environment_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site_settings_of_a_test.py").write_text("LOCATION = 'jobs.db'\nREAD_ONLY = True\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LOWQ_SETTINGS", "site_settings_of_a_test")

    assert load() == Settings(location="jobs.db", read_only=True)


def test_what_the_command_line_says_stands_above_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lowq.py"
    file.write_text("LOCATION = 'a.db'\nNAME = 'mails'\n")

    assert load(str(file), location="b.db") == Settings(location="b.db", name="mails")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("LOCATOIN = 'q.db'", "LOCATOIN: there is no such setting; did you mean LOCATION?"),
        ("LOCATION = 'q.db'\nREADONLY = True", "READONLY: there is no such setting; did you mean READ_ONLY?"),
        ("LOCATION = 'q.db'\nTOKEN = ['x']", "TOKEN: there is no such setting; did you mean TOKENS?"),
        ("LOCATION = 'q.db'\nread_only = True", "read_only: a setting is written in upper case, READ_ONLY; a name"),
        ("LOCATION = 'q.db'\nTokens = ['x']", "Tokens: a setting is written in upper case, TOKENS"),
        ("LOCATION = 'q.db'\nQUEUEDIR = '/x'", "QUEUEDIR: there is no such setting"),
        ("LOCATION = 7", "LOCATION: expected a path or URL, got int"),
        ("NAME = 'mails'", "LOCATION: no queue is named"),
        ("LOCATION = 'q.db'\nNAME = ''", "NAME: expected 1 to 200 printable characters"),
        ("LOCATION = 'q.db'\nNAME = 7", "NAME: expected a string"),
        ("LOCATION = 'q.db'\nDEFAULT_PRIORITY = '5'", "DEFAULT_PRIORITY: expected a whole number"),
        ("LOCATION = 'q.db'\nDEFAULT_PRIORITY = 1.5", "DEFAULT_PRIORITY: expected a whole number"),
        ("LOCATION = 'q.db'\nDEFAULT_PRIORITY = 2**31", "DEFAULT_PRIORITY: expected a whole number"),
        ("LOCATION = 'q.db'\nDEFAULT_PRIORITY = True", "DEFAULT_PRIORITY: expected a whole number"),
        ("LOCATION = 'q.db'\nLEASE_FOR = 30", "LEASE_FOR: expected a timedelta"),
        ("from datetime import timedelta\nLOCATION = 'q.db'\nLEASE_FOR = timedelta(0)", "LEASE_FOR: expected"),
        ("LOCATION = 'q.db'\nTOKENS = 'secret'", "TOKENS: expected a list of texts, got str"),
        ("LOCATION = 'q.db'\nTOKENS = ['']", "TOKENS: expected texts"),
        ("LOCATION = 'q.db'\nTOKENS = ['a b']", "TOKENS: expected texts"),
        ("LOCATION = 'q.db'\nTOKENS = [7]", "TOKENS: expected texts"),
        ("LOCATION = 'q.db'\nTOKENS = ['x']\nREAD_ONLY_TOKENS = ['x']", "READ_ONLY_TOKENS: a token of these"),
        ("LOCATION = 'q.db'\nTOKENS = ['x']\nNO_AUTH = True", "NO_AUTH: there are tokens"),
        ("LOCATION = 'q.db'\nREAD_ONLY = 1", "READ_ONLY: expected True or False"),
        ("LOCATION = 'q.db'\nMAX_BODY = 0", "MAX_BODY: expected a whole number"),
        ("LOCATION = 'q.db'\nPAGE_SIZE = 0", "PAGE_SIZE: expected a whole number"),
        ("LOCATION = 'q.db'\nCLOCK = 7", "CLOCK: expected a lowq.Clock"),
        ("LOCATION = ", "SyntaxError"),
        ("raise SystemExit(1)", "SystemExit"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown_where_it_is_a_token(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "lowq.py"
    file.write_text(text)

    with pytest.raises(SettingsError) as refused:
        load(str(file))

    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("named", ["/nowhere/lowq.py", "no_such_module_here"])
def test_settings_that_are_not_there_are_named(named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(named)


def test_flask_finds_the_application(tmp_path: Path) -> None:
    """As `FLASK_APP=lowq.web flask run` does."""
    file = tmp_path / "lowq.py"
    file.write_text(f"LOCATION = {str(tmp_path / 'q.db')!r}\n")
    env: dict[str, Any] = {**os.environ, "FLASK_APP": "lowq.web", "LOWQ_SETTINGS": str(file)}

    done = subprocess.run(
        [sys.executable, "-m", "flask", "routes"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "/api/v1/push" in done.stdout
