"""What the fetcher does with hosts that it may talk to: limits, deadlines, redirects, headers."""

import asyncio
import shutil
import ssl
import subprocess
import time
import tracemalloc
from pathlib import Path

import httpcore
import pytest
from fetch_fakes import PUBLIC, FakeNames, PublicNetwork, make_fetcher

import picture_server as hosts
from ingrain.app.limits import fetch_policy
from ingrain.errors import FetchFailedError, FetchRefusedError, InvalidRequestError, SettingsError, TooLargeError
from ingrain.fetch.headers import check_download_headers
from ingrain.fetch.policy import FetchPolicy
from ingrain.fetch.tls import client_context
from ingrain.settings import load_settings
from picture_server import PictureServer

MIB = 1024 * 1024


def _policy(*servers: PictureServer, **more: object) -> FetchPolicy:
    return FetchPolicy(exceptions=frozenset(("127.0.0.1", server.port) for server in servers), **more)  # type: ignore[arg-type]


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_body_arrives_whole(pictures: PictureServer) -> None:
    body = bytes(range(256)) * 4000
    pictures.replies["/a.png"] = hosts.answer(body)
    fetcher = make_fetcher(_policy(pictures))
    assert await fetcher.fetch(pictures.url("/a.png?size=2"), max_bytes=len(body)) == body
    await fetcher.aclose()
    assert pictures.hits[0].target == "/a.png?size=2"
    assert pictures.hits[0].headers["accept-encoding"] == "identity"
    assert pictures.hits[0].headers["host"] == f"127.0.0.1:{pictures.port}"


HOSTILE = {
    "too long by its length": (hosts.answer(bytes(MIB + 1)), TooLargeError),
    "too long by a length that is not sent": (hosts.answer(b"", headers={"Content-Length": "9" * 18}), TooLargeError),
    "a length of a thousand digits": (hosts.answer(b"", headers={"Content-Length": "9" * 1000}), FetchFailedError),
    "endless chunks": (hosts.endless_chunks(), TooLargeError),
    "endless headers": (hosts.endless_headers(), FetchFailedError),
    "slow drip": (hosts.slow_drip(bytes(1000), 0.05), FetchFailedError),
    "silence": (hosts.silence(), FetchFailedError),
    "gzip bomb": (hosts.gzip_bomb(512 * MIB), FetchFailedError),
    "cut short": (hosts.cut_short(b"half"), FetchFailedError),
    "not HTTP": (hosts.nonsense(), FetchFailedError),
    "not found": (hosts.answer(b"", status=404), FetchFailedError),
    "error": (hosts.answer(b"", status=500), FetchFailedError),
    "redirect without a location": (hosts.answer(b"", status=302), FetchFailedError),
    "redirect in no encoding": (hosts.redirect("http://\xff\xfe/"), FetchFailedError),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_host_costs_little_and_is_a_request_error(case: str, pictures: PictureServer) -> None:
    """Little is: under five seconds with a deadline of one, and a few times the byte limit of memory."""
    pictures.replies["/"], expected = HOSTILE[case]
    fetcher = make_fetcher(_policy(pictures, read_timeout_s=0.6, total_timeout_s=1.0))
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(expected) as failure:
        await fetcher.fetch(pictures.url(), max_bytes=MIB, param="image[2]")
    took_s, (_, peak_bytes) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await fetcher.aclose()
    assert failure.value.param == "image[2]"
    assert took_s < 5
    assert peak_bytes < 8 * MIB


@pytest.mark.parametrize("status", [100, 102, 103, 199])
async def test_interim_answers_have_an_end_long_before_the_deadline(status: int, pictures: PictureServer) -> None:
    pictures.replies["/"] = hosts.endless_interim_answers(status)
    fetcher = make_fetcher(_policy(pictures, read_timeout_s=600, total_timeout_s=600))
    with pytest.raises(FetchFailedError, match="broke off"):
        await fetcher.fetch(pictures.url(), max_bytes=MIB)
    await fetcher.aclose()


async def test_a_few_interim_answers_are_passed_over_and_connections_are_used_again(pictures: PictureServer) -> None:
    """The bound is for one answer, not for all of a connection."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000)
        await writer.drain()

    pictures.replies["/"] = reply
    fetcher = make_fetcher(_policy(pictures))
    for _ in range(2):
        assert await fetcher.fetch(pictures.url(), max_bytes=MIB) == b"a" * 70_000
    await fetcher.aclose()


async def test_more_interim_answers_than_any_host_sends_are_refused_while_they_are_few_bytes(
    pictures: PictureServer,
) -> None:
    """Each one costs the event loop more than its bytes."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 300)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
        await writer.drain()

    pictures.replies["/"] = reply
    fetcher = make_fetcher(_policy(pictures))
    with pytest.raises(FetchFailedError, match="broke off"):
        await fetcher.fetch(pictures.url(), max_bytes=MIB)
    await fetcher.aclose()


async def test_a_body_of_tiny_chunks_leaves_the_loop_to_others_and_is_refused(pictures: PictureServer) -> None:
    pictures.replies["/"] = hosts.tiny_chunks()
    fetcher = make_fetcher(_policy(pictures, read_timeout_s=600, total_timeout_s=600))
    turns, is_over = 0, False

    async def others() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    with pytest.raises(FetchFailedError, match="too few bytes"):
        await fetcher.fetch(pictures.url(), max_bytes=MIB)
    is_over = True
    await counting
    await fetcher.aclose()
    assert turns > 250 / 8


async def test_three_redirects_are_followed_and_a_fourth_is_not(pictures: PictureServer) -> None:
    for hop in range(4):
        pictures.replies[f"/{hop}"] = hosts.redirect(f"/{hop + 1}")  # relative, as many hosts write it
    pictures.replies["/4"] = hosts.answer(b"here")
    fetcher = make_fetcher(_policy(pictures))
    assert await fetcher.fetch(pictures.url("/1"), max_bytes=10) == b"here"
    with pytest.raises(FetchRefusedError, match="more than 3 times"):
        await fetcher.fetch(pictures.url("/0"), max_bytes=10)
    await fetcher.aclose()


async def test_the_callers_headers_go_to_the_first_host_only(pictures: PictureServer) -> None:
    """Also not to another port, and not again when a redirect comes back."""
    async with PictureServer() as other:
        pictures.replies["/a"] = hosts.redirect("/b")
        pictures.replies["/b"] = hosts.redirect(other.url("/c"))
        other.replies["/c"] = hosts.redirect(pictures.url("/d"))
        pictures.replies["/d"] = hosts.answer(b"here")
        fetcher = make_fetcher(_policy(pictures, other))
        given = {
            "authorization": "Bearer secret",
            "Cookie": "a=b",
            "user-agent": "mine",
            "X-API-KEY": "k",
            "range": "r",
        }
        headers = check_download_headers(given | {"accept-encoding": "gzip"})
        assert await fetcher.fetch(pictures.url("/a"), max_bytes=10, headers=headers) == b"here"
        await fetcher.aclose()
    sent = {hit.target: hit.headers for hit in (*pictures.hits, *other.hits)}
    for path in ("/a", "/b"):
        names = ("authorization", "cookie", "user-agent", "x-api-key", "range", "accept-encoding")
        assert [sent[path][name] for name in names] == ["Bearer secret", "a=b", "mine", "k", "r", "identity"]
    for path in ("/c", "/d"):
        assert "authorization" not in sent[path]
        assert "cookie" not in sent[path]
        assert "x-api-key" not in sent[path]
        assert sent[path]["user-agent"].startswith("ingrain/")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "X-Secret"},
        {"Proxy-Authorization": "Basic eA=="},
        {"UPGRADE": "h2c"},
        {"TE": "trailers"},
        {"Content-Length": "3"},
        {"X-Line\nbreak": "a"},
        {"Two words": "a"},
        {"Ümlaut": "a"},
        {"Cookie": "a=b\r\nX-Injected: 1"},
        {"Cookie": "a=b\n"},
        {"Cookie": ""},
        {"Cookie": " a"},
        {"Cookie": "\x00"},
        {"Cookie": "é"},
        {"Cookie ": "a"},
        {"cookie": "a", "Cookie": "b"},
        {"": "a"},
    ],
)
def test_headers_of_the_connection_and_unprintable_values_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        check_download_headers(headers)
    assert refusal.value.param is not None
    assert refusal.value.param.startswith("imageDownloadHeaders")


def test_headers_have_a_limit_together() -> None:
    assert check_download_headers({"Cookie": "a" * 8000})
    with pytest.raises(TooLargeError):
        check_download_headers({"Cookie": "a" * 8000, "Authorization": "b" * 400})


async def test_as_many_fetches_run_at_once_as_the_policy_says(pictures: PictureServer) -> None:
    running = most = 0
    plain = hosts.answer(b"here")

    async def count(writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        await plain(writer)

    pictures.replies["/"] = count
    fetcher = make_fetcher(_policy(pictures, max_at_once=3))
    await asyncio.gather(*(fetcher.fetch(pictures.url(), max_bytes=10) for _ in range(12)))
    await fetcher.aclose()
    assert most == 3


async def test_hosts_of_the_allow_list_still_need_a_public_address(pictures: PictureServer) -> None:
    pictures.replies["/"] = hosts.answer(b"here")
    names = FakeNames(
        a_example=[[PUBLIC]], img_cdn_example=[[PUBLIC]], cdn_example=[[PUBLIC]], inner_example=[["10.0.0.1"]]
    )
    policy = FetchPolicy(mode="allowlist", hosts=frozenset({"a.example", "*.cdn.example", "inner.example"}))
    fetcher = make_fetcher(policy, resolver=names, network=PublicNetwork(pictures))
    assert await fetcher.fetch("http://A.example/", max_bytes=10) == b"here"
    assert await fetcher.fetch("http://img.cdn.example/", max_bytes=10) == b"here"
    for url in ("http://cdn.example/", "http://b.example/", "http://xa.example/", "http://1.1.1.1/"):
        with pytest.raises(FetchRefusedError, match="INGRAIN_FETCH_HOSTS"):
            await fetcher.fetch(url, max_bytes=10)
    with pytest.raises(FetchRefusedError, match="not public"):
        await fetcher.fetch("http://inner.example/", max_bytes=10)
    await fetcher.aclose()


async def test_off_fetches_nothing_not_even_exceptions(canary: PictureServer) -> None:
    fetcher = make_fetcher(_policy(canary, mode="off"))
    with pytest.raises(FetchRefusedError, match="INGRAIN_IMAGE_FETCH"):
        await fetcher.fetch(canary.url(), max_bytes=10)
    await fetcher.aclose()


async def test_a_dead_address_leaves_time_for_the_next_one(pictures: PictureServer) -> None:
    pictures.replies["/"] = hosts.answer(b"here")

    class FirstIsDead(PublicNetwork):
        async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
            if host == PUBLIC:
                return await super().connect_tcp(host, port, timeout)
            self.dialled.append(host)
            await asyncio.sleep(timeout)
            raise httpcore.ConnectTimeout

    network = FirstIsDead(pictures)
    names = FakeNames(two_example=[["2606:4700::1", PUBLIC]])
    fetcher = make_fetcher(FetchPolicy(connect_timeout_s=0.6), resolver=names, network=network)
    assert await fetcher.fetch("http://two.example/", max_bytes=10) == b"here"
    await fetcher.aclose()
    assert network.dialled == ["2606:4700::1", PUBLIC]


async def test_settings_become_the_policy() -> None:
    environ = {"INGRAIN_IMAGE_FETCH": "allowlist", "INGRAIN_FETCH_HOSTS": "A.example, *.cdn.example"}
    environ |= {
        "INGRAIN_FETCH_ALLOW": "127.0.0.1:8080,[::1]:90",
        "INGRAIN_FETCH_TIMEOUT_S": "4",
        "INGRAIN_MAX_FETCHES": "5",
    }
    policy = fetch_policy(load_settings({}, environ))
    assert policy.mode == "allowlist"
    assert policy.hosts == {"a.example", "*.cdn.example"}
    assert policy.exceptions == {("127.0.0.1", 8080), ("::1", 90)}
    assert (policy.total_timeout_s, policy.max_at_once) == (4.0, 5)


@pytest.mark.parametrize("wrong", ["127.0.0.1", "127.0.0.1:", ":80", "a:0", "a:65536", "a:b", "a:８０"])
def test_an_exception_that_is_not_host_and_port_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="INGRAIN_FETCH_ALLOW"):
        fetch_policy(load_settings({}, {"INGRAIN_FETCH_ALLOW": wrong}))


async def test_a_fetch_to_a_file_writes_it_or_leaves_nothing(pictures: PictureServer, tmp_path: Path) -> None:
    body = bytes(range(256)) * 40_000
    pictures.replies["/good"] = hosts.answer(body)
    pictures.replies["/short"] = hosts.cut_short(body)
    fetcher = make_fetcher(_policy(pictures))
    path = tmp_path / "model.safetensors"
    with pytest.raises(FetchFailedError):
        await fetcher.fetch_to_file(pictures.url("/short"), path, max_bytes=100 * MIB)
    with pytest.raises(TooLargeError):
        await fetcher.fetch_to_file(pictures.url("/good"), path, max_bytes=MIB)
    assert _names_in(tmp_path) == []
    await fetcher.fetch_to_file(pictures.url("/good"), path, max_bytes=100 * MIB)
    assert path.read_bytes() == body
    with pytest.raises(FileExistsError):
        await fetcher.fetch_to_file(pictures.url("/good"), path, max_bytes=100 * MIB)
    assert path.read_bytes() == body
    await fetcher.aclose()


async def test_a_cancelled_fetch_to_a_file_leaves_nothing(pictures: PictureServer, tmp_path: Path) -> None:
    pictures.replies["/"] = hosts.slow_drip(bytes(1000), 0.05)
    fetcher = make_fetcher(_policy(pictures))
    task = asyncio.create_task(fetcher.fetch_to_file(pictures.url(), tmp_path / "a", max_bytes=MIB))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _names_in(tmp_path) == []
    await fetcher.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


async def test_https_keeps_the_name_for_sni_host_and_certificate(certificate: tuple[Path, Path]) -> None:
    """The connection goes to the address, and TLS is still about the name: another name's certificate does not pass."""
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(*certificate)
    asked: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    client_tls = client_context(certificate[0])
    async with PictureServer({"/": hosts.answer(b"here")}, tls=server_tls) as server:
        network = PublicNetwork(server)
        names = FakeNames(pictures_example=[[PUBLIC]], other_example=[[PUBLIC]])
        fetcher = make_fetcher(resolver=names, network=network, tls=client_tls)
        assert await fetcher.fetch("https://pictures.example/", max_bytes=10) == b"here"
        assert server.hits[0].headers["host"] == "pictures.example"
        with pytest.raises(FetchFailedError, match=r"certificate of host 'other\.example'.*for another host name"):
            await fetcher.fetch("https://other.example/", max_bytes=10)
        await fetcher.aclose()
        stranger = make_fetcher(resolver=FakeNames(pictures_example=[[PUBLIC]]), network=PublicNetwork(server))
        with pytest.raises(FetchFailedError, match=r"no trusted authority has issued it \(INGRAIN_FETCH_CA_FILE"):
            await stranger.fetch("https://pictures.example/", max_bytes=10)
        await stranger.aclose()
        assert asked == ["pictures.example", "other.example", "pictures.example"]
        assert network.dialled == [PUBLIC, PUBLIC]
        assert len(server.hits) == 1


def test_settings_reach_the_fetcher(tmp_path: Path) -> None:
    settings = load_settings({"fetch_timeout_s": "33", "fetch_ca_file": str(tmp_path / "ca.pem")}, {})
    policy = fetch_policy(settings)
    assert (policy.read_timeout_s, policy.total_timeout_s, policy.ca_file) == (33, 33, tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"", "no certificate"), (b"x", "no certificate")]
)
def test_a_file_of_authorities_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(SettingsError, match=f"INGRAIN_FETCH_CA_FILE.*{why}"):
        client_context(tmp_path / "ca.pem")
