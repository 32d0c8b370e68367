"""A URL is shown without its password, whatever is wrong with it."""

from __future__ import annotations

import pytest

from lowq.rules.server_url import hide_password, hide_passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:secret@host:1/0", "redis://me:…@host:1/0"),
        ("redis://:se:c@r/e?t@host", "redis://:…@host"),
        ("redis://:secret", "redis://:…"),
        ("redis://me:secret/0?patience=3", "redis://me:…"),
        ("redis://host:6379/0?password=secret&db=1", "redis://host:6379/0?password=…&db=1"),
        ("redis://host:6379", "redis://host:6379"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("postgresql://one:5432,two:5433/jobs", "postgresql://one:5432,two:5433/jobs"),
        ("sqlite:///a:b.db", "sqlite:///a:b.db"),
        ("jobs.db", "jobs.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_urls_are_found_in_a_sentence() -> None:
    said = "got unexpected arguments (x redis://:secret@host 'http://a:secret@b' me@home)"

    assert hide_passwords(said) == "got unexpected arguments (x redis://:…@host 'http://a:…@b' me@home)"
