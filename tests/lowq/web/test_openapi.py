"""The description of the interface, and what schemathesis finds when it asks whatever the description allows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from backends import served
from flask.testing import FlaskClient
from serving import MakeApp

from lowq import Backend

pytest.importorskip("schemathesis", reason="it needs schemathesis")


def test_every_route_is_described_and_every_description_is_a_route(make_app: MakeApp) -> None:
    app = make_app()
    routes = {
        (rule.rule.removeprefix("/api/v1"), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1") and not rule.rule.endswith("openapi.json")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    document: Any = app.test_client().get("/api/v1/openapi.json").json

    assert {(path, method) for path, found in document["paths"].items() for method in found} == routes


def test_the_contracts_verbs_are_all_there(client: FlaskClient) -> None:
    document: Any = client.get("/api/v1/openapi.json").json
    verbs = {
        name for name in vars(Backend)
        if not name.startswith("_")
        and name not in ("promises", "dedupe", "name", "close", "pushed_in_order", "within")
        and callable(getattr(Backend, name))
    }  # fmt: skip

    assert verbs - {path.strip("/") for path in document["paths"]} == set()


@pytest.mark.parametrize("token", ["", "looking"])
def test_nothing_that_the_description_allows_or_forbids_makes_it_fail(tmp_path: Path, token: str) -> None:
    """No 500, no answer that the description does not know, nothing wrong that is taken, nobody let in."""
    settings: dict[str, Any] = {"read_only_tokens": ["looking"]} if token else {}
    header = ["--header", f"Authorization: Bearer {token}"] if token else []
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with served(tmp_path / "q.db", name="default", **settings) as url:
        done = subprocess.run(
            [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
             f"{url}/api/v1/openapi.json", "--url", f"{url}/api/v1", *header, "--checks", checks,
             "--phases", "examples,fuzzing", "--max-examples", "15", "--seed", "1",
             "--generation-deterministic", "--suppress-health-check", "all", "--max-response-time", "30"],
            cwd=tmp_path, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, timeout=200,
            check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
