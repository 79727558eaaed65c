"""HTTPS on real sockets: requests, callers that do not get as far as one, renewed certificates, unusable files."""

import asyncio
import contextlib
import logging
import os
import ssl

import pytest
import trustme

from ingrain.app.listen import open_socket
from ingrain.errors import SettingsError
from ingrain.server.http import server as server_module
from ingrain.server.http.application import BodyLimit
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.http.message import Response
from ingrain.server.http.server import HttpServer
from ingrain.server.http.tls import TlsCertificate

CA = trustme.CA()
TRUSTING = ssl.create_default_context()
CA.configure_trust(TRUSTING)


class Echo:
    """Answers every request at once with its path and body."""

    def __init__(self, max_body_bytes=67_108_864) -> None:
        self.body_limit = BodyLimit(max_body_bytes, "INGRAIN_MAX_BODY_BYTES")

    def admit(self, request):
        return {}

    def begin(self, request):
        return EchoExchange(request, self.body_limit)

    def refuse(self, error):
        return Response(error.message.encode(), 400)


class EchoExchange:
    def __init__(self, request, body_limit) -> None:
        self.request = request
        self.body_limit = body_limit

    def start(self, deliver):
        return Response(self.request.path.encode() + b"".join((self.request.body, *self.request.pieces)))

    def refuse(self, error):
        return Response(error.message.encode(), 413)

    def abandon(self) -> None: ...


def write_certificate(folder, *names, ca=CA):
    """Write ``cert.pem`` and ``key.pem`` for host names, and return their paths."""
    made = ca.issue_cert(*(names or ("127.0.0.1", "localhost")))
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    (folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    return folder / "cert.pem", folder / "key.pem"


@contextlib.asynccontextmanager
async def serving(folder, app=None, **limits):
    tls = TlsCertificate(*write_certificate(folder))
    server = HttpServer(app or Echo(), HttpLimits(**limits), BodyBudget(2**30), tls=tls)
    listener = open_socket("127.0.0.1", 0, "a test's port")
    await server.start(listener)
    try:
        yield server, listener.getsockname()[1]
    finally:
        await server.stop(0.2)


async def connect(port, context=TRUSTING):
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def get(reader, writer, path, body=b"") -> bytes:
    """Send a request and return the body of the response; the connection stays open."""
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    return await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))


async def test_requests_are_answered_over_one_connection(tmp_path):
    """Small bodies and one that takes many TLS records; the protocol is at least TLS 1.2."""
    large = os.urandom(1_000_000)
    async with serving(tmp_path) as (_, port):
        reader, writer = await connect(port)
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        for n in range(3):
            assert await get(reader, writer, b"/%d" % n, b"body") == b"/%dbody" % n
        assert await get(reader, writer, b"/large", large) == b"/large" + large
        writer.close()


async def test_an_accepted_socket_gets_its_handshake_and_is_counted_when_it_closes(tmp_path):
    """As a worker gets its connections: accepted by another process, with the handshake still to come."""
    closed = []
    tls = TlsCertificate(*write_certificate(tmp_path))
    server = HttpServer(Echo(), HttpLimits(), BodyBudget(2**30), on_closed=lambda: closed.append(1), tls=tls)
    await server.start(None)
    with open_socket("127.0.0.1", 0, "a test's port") as listener:
        loop = asyncio.get_running_loop()

        async def accept() -> None:
            server.adopt((await loop.sock_accept(listener))[0])

        port = listener.getsockname()[1]
        (reader, writer), _ = await asyncio.gather(connect(port), accept())
        assert await get(reader, writer, b"/a") == b"/a"
        writer.close()
        (_, plain), _ = await asyncio.gather(asyncio.open_connection("127.0.0.1", port), accept())
        plain.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(30):
            while len(closed) < 2:
                await asyncio.sleep(0.01)
        plain.close()
        (_, silent), _ = await asyncio.gather(asyncio.open_connection("127.0.0.1", port), accept())
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.stop(5), 3)
        silent.close()
    assert len(closed) == 3


async def test_a_refused_body_is_answered_before_it_has_come(tmp_path):
    async with serving(tmp_path, Echo(max_body_bytes=1_000)) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"b" * 300_000)
        assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert b"INGRAIN_MAX_BODY_BYTES" in await asyncio.wait_for(reader.read(), 30)
        writer.close()


async def test_plain_http_and_distrust_end_the_connection_and_leave_no_trace_in_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with serving(tmp_path) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 30)
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, ssl.create_default_context())
        reader, writer = await connect(port)
        assert await get(reader, writer, b"/still") == b"/still"
        writer.close()
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_protocols_are_refused(tmp_path):
    old = ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(tmp_path) as (_, port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(port, old)


async def test_a_silent_caller_is_disconnected(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "HANDSHAKE_TIMEOUT_S", 0.3)
    async with serving(tmp_path) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        assert not server.connections
        writer.close()


async def test_a_renewed_certificate_is_served_and_a_half_written_one_is_not(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with serving(tmp_path, keep_alive_s=0.4) as (_, port):

        async def names() -> set[str]:
            _, writer = await connect(port, unchecked)
            names = writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"]
            writer.close()
            return {name for _, name in names}

        unchecked = ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())
        unchecked.check_hostname = False
        old, new = {"127.0.0.1", "localhost"}, {"renewed.example.org"}
        assert await names() == old
        (tmp_path / "new").mkdir()
        cert_file, key_file = write_certificate(tmp_path / "new", *new)
        cert_file.replace(tmp_path / "cert.pem")
        await asyncio.sleep(0.5)
        assert await names() == old
        assert "does not belong to the certificate" in caplog.text
        key_file.replace(tmp_path / "key.pem")
        async with asyncio.timeout(30):
            while await names() != new:
                await asyncio.sleep(0.05)
        (tmp_path / "cert.pem").unlink()
        await asyncio.sleep(0.3)
        assert await names() == new
    assert sum("is not used" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize(
    ("cert", "key", "setting", "why"),
    [
        ("missing", "key", "CERT", "cannot be read"),
        ("folder", "key", "CERT", "cannot be read"),
        ("cert", "missing", "KEY", "cannot be read"),
        ("junk", "key", "CERT", "holds no certificate"),
        ("key", "key", "CERT", "holds no certificate"),
        ("cert", "junk", "KEY", "holds no private key"),
        ("cert", "cert", "KEY", "holds no private key"),
        ("cert", "other", "KEY", "does not belong"),
        ("cert", "rsa", "KEY", "does not belong"),
        ("cert", "encrypted", "KEY", "is encrypted"),
        (None, "key", "CERT", "is not; TLS needs both"),
        ("cert", None, "KEY", "is not; TLS needs both"),
    ],
)
def test_unusable_files_are_refused_with_the_setting_that_is_wrong(tmp_path, cert, key, setting, why):
    from cryptography.hazmat.primitives import serialization

    write_certificate(tmp_path)
    for name, kind in (("other", trustme.KeyType.ECDSA), ("rsa", trustme.KeyType.RSA)):
        (tmp_path / f"{name}.pem").write_bytes(CA.issue_cert("x", key_type=kind).private_key_pem.bytes())
    private = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    (tmp_path / "encrypted.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "folder.pem").mkdir()
    files = [tmp_path / f"{name}.pem" if name else None for name in (cert, key)]
    with pytest.raises(SettingsError, match=why) as caught:
        TlsCertificate.from_files(*files)
    assert caught.value.param == f"INGRAIN_TLS_{setting}_FILE"


def test_no_files_mean_no_tls():
    assert TlsCertificate.from_files(None, None) is None
