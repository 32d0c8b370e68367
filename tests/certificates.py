"""A certificate that its own key has signed, for servers of the tests that speak TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BOUND = 60


def make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 in the folder; its key lies beside it, as .key. Skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate with")
    file = folder / "server.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lowq",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file.with_suffix(".key"), "-out", file],
        check=True, capture_output=True, timeout=BOUND,
    )  # fmt: skip
    return file
