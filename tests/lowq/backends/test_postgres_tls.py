"""A PostgreSQL server's certificate that is not trusted, or another's, and a server without TLS: what to do is said.

The server is one that answers to the request for TLS and no further: the wheel's is built without.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from certificates import BOUND, make_certificate

from lowq import InvalidLocation, open_backend

pytest.importorskip("psycopg", reason="PostgreSQL needs: pip install 'lowq[postgres]'")

SECRET = "tops3cret"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def port(request: pytest.FixtureRequest, certificate: Path) -> Iterator[int]:
    """Where a server says yes to TLS, or no where the test's parameter is False."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    secure = getattr(request, "param", True)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            while True:
                try:
                    caller = server.accept()[0]
                except OSError:  # at the end
                    return
                with suppress(OSError), caller:
                    caller.settimeout(BOUND)
                    caller.recv(8)
                    caller.sendall(b"S" if secure else b"N")
                    if not secure:
                        caller.recv(1)
                        continue
                    with context.wrap_socket(caller, server_side=True) as talking:
                        talking.recv(1)

        thread = Thread(target=talk)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(BOUND)


def refused(url: str) -> str:
    """What is said at once of a URL that no waiting makes right."""
    with pytest.raises(InvalidLocation) as caught:
        open_backend(url, patience="3600")
    said = str(caught.value)
    assert SECRET not in said
    assert len(said.splitlines()) == 1
    return said


def test_a_certificate_that_nobody_trusts_is_told_how_to_be_trusted(
    port: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_certificate(tmp_path_factory.mktemp("other"))

    said = refused(f"postgresql://eve:{SECRET}@127.0.0.1:{port}/x?sslmode=verify-full&sslrootcert={other}")

    assert "certificate verify failed" in said
    assert "name the file of its authority: ?sslrootcert=" in said


def test_a_certificate_of_another_name_is_told_from_it(port: int, certificate: Path) -> None:
    said = refused(f"postgresql://eve:{SECRET}@localhost:{port}/x?sslmode=verify-full&sslrootcert={certificate}")

    assert "does not match host name" in said
    assert "name the host as the certificate does" in said


def test_a_file_of_certificates_that_is_missing_is_named(port: int, tmp_path: Path) -> None:
    said = refused(f"postgresql://eve:{SECRET}@127.0.0.1:{port}/x?sslmode=verify-ca&sslrootcert={tmp_path}/none.pem")

    assert f'root certificate file "{tmp_path}/none.pem" does not exist' in said


@pytest.mark.parametrize("port", [False], indirect=True)
def test_a_server_without_tls_is_no_server_that_is_away(port: int) -> None:
    said = refused(f"postgresql://eve:{SECRET}@127.0.0.1:{port}/x?sslmode=require")

    assert "server does not support SSL" in said
    assert "an administrator must turn TLS on there" in said
