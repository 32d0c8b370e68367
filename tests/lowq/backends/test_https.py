"""A server behind TLS, with a certificate that is trusted, one that is not, and none."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from certificates import make_certificate

pytest.importorskip("flask", reason="the web needs: pip install 'lowq[web]'")

from lowq import BackendUnavailable, Counts, InvalidLocation, open_backend
from lowq.web import create_app

MINUTE = timedelta(minutes=1)
BOUND = 60


class _Server(ThreadingMixIn, WSGIServer):
    """The standard library's, a thread for each request."""

    daemon_threads = False


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1; its key lies beside it."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    app = create_app(location=str(tmp_path / "q.db"))
    with _Server(("127.0.0.1", 0), _Quiet) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(BOUND)
    app.extensions["lowq"].close()


@pytest.fixture
def port(server: _Server, certificate: Path) -> int:
    """Where the server speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return int(server.server_port)


def test_behind_a_certificate_that_is_trusted_a_queue_is_as_it_is_elsewhere(port: int, certificate: Path) -> None:
    with closing(open_backend(f"https://127.0.0.1:{port}?ca={certificate}")) as queue:
        queue.push({"mail": 1})
        lease = queue.claim(lease_for=MINUTE, wait=MINUTE)
        assert lease is not None
        queue.ack(lease)

        assert (lease.work, queue.count()) == ({"mail": 1}, Counts())


def test_a_certificate_that_nobody_trusts_is_a_named_error_at_once(port: int) -> None:
    with pytest.raises(InvalidLocation, match=r"certificate is not trusted.*self.signed.*ca="):
        open_backend(f"https://127.0.0.1:{port}?patience=3600")


def test_a_certificate_of_another_name_is_a_named_error_at_once(port: int, certificate: Path) -> None:
    with pytest.raises(InvalidLocation, match=r"certificate is not trusted.*localhost"):
        open_backend(f"https://localhost:{port}?patience=3600&ca={certificate}")


def test_a_server_without_tls_is_told_from_one_that_is_away(server: _Server) -> None:
    with pytest.raises(InvalidLocation, match="http://"):
        open_backend(f"https://127.0.0.1:{server.server_port}?patience=3600")


def test_a_server_that_speaks_tls_alone_is_no_other_programs(port: int) -> None:
    with pytest.raises(BackendUnavailable, match="does not answer"):
        open_backend(f"http://127.0.0.1:{port}?patience=0.1")


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_of_certificates_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(InvalidLocation, match=r"ca\.pem cannot be read"):
        open_backend(f"https://127.0.0.1:1?ca={file}")
