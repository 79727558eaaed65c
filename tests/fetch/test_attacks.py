"""Every way into the network that this server stands in, tried; the canary proves that none leads there."""

import socket

import pytest
from fetch_fakes import PUBLIC, FakeNames, PublicNetwork, make_fetcher

from ingrain.errors import FetchFailedError, FetchRefusedError, RequestError
from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.policy import FetchPolicy
from picture_server import PictureServer, answer, redirect

LOOPBACK_HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "127.0.0.1.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
    "%31%32%37.0.0.1",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "loc%61lhost",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "１２７.０.０.１",
    "①②⑦.0.0.1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "",
    "user@127.0.0.1",
    "user:word@127.0.0.1",
    "example.com@127.0.0.1",
    "127.0.0.1\\@example.com",
    "example.com\\@127.0.0.1",
    "127.0.0.1\\.example.com",
    "127.0.0.1\t",
    "127.0.0.1%00.example.com",
    "-127.0.0.1",
    "a" * 64 + ".example.com",
    ".".join(["abc"] * 80),
]
"""Hosts that some reader of URLs or some resolver takes for this machine, or that are no hosts at all."""

PRIVATE_URLS = [
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine/",
    "http://192.0.0.192/opc/v1/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
]

NOT_HTTP = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://127.0.0.1/a.png",
    "ws://127.0.0.1/",
    "javascript:alert(1)",
    "//127.0.0.1/a.png",
    "/etc/passwd",
    "127.0.0.1/a.png",
    "",
    "http:",
    "http:/127.0.0.1/",
    "http:///a.png",
    "http://?",
    "http://:80/",
    "http://[/",
    "http://[::1/",
    "http://[zz]/",
    "http://a:b/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:99999999999999999999/",
    "http://example.com:-1/",
    "http://example.com/\r\nX-Injected: 1",
    "http://example.com/\x00",
    "http://exa mple.com/",
    "http://\udc80.example.com/",
    "http://example.com/" + "a" * 9000,
]


async def _refuse(fetcher: Fetcher, url: str) -> FetchRefusedError:
    try:
        with pytest.raises(FetchRefusedError) as refusal:
            await fetcher.fetch(url, max_bytes=1000, param="image[3]")
    finally:
        await fetcher.aclose()
    assert refusal.value.param == "image[3]"
    assert refusal.value.message.startswith("image[3] ")
    return refusal.value


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
async def test_no_spelling_of_this_machine_is_reached(host: str, scheme: str, canary: PictureServer) -> None:
    """The system's own resolver is asked where it comes to that, so that short forms are tried for real."""
    await _refuse(make_fetcher(), f"{scheme}://{host}:{canary.port}/")


@pytest.mark.parametrize("url", PRIVATE_URLS)
async def test_private_and_metadata_addresses_are_refused(url: str) -> None:
    names = FakeNames(metadata_google_internal=[["169.254.169.254"]])
    await _refuse(make_fetcher(resolver=names), url)


@pytest.mark.parametrize("url", NOT_HTTP)
async def test_what_is_not_a_plain_http_url_is_refused_before_any_name_is_asked_for(url: str) -> None:
    names = FakeNames()
    await _refuse(make_fetcher(resolver=names), url)
    assert names.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_judged_as_if_it_were_new(
    status: int, canary: PictureServer, pictures: PictureServer
) -> None:
    policy = FetchPolicy(exceptions=frozenset({("127.0.0.1", pictures.port)}))
    names = FakeNames(innocent_example=[["127.0.0.1"]], localhost=[["127.0.0.1"]])
    hosts = [host for host in (*LOOPBACK_HOSTS, "innocent.example") if "\t" not in host]  # no HTTP answer carries a tab
    for host in hosts:
        pictures.replies["/a.png"] = redirect(f"http://{host}:{canary.port}/".encode().decode("latin-1"), status)
        await _refuse(make_fetcher(policy, resolver=names), pictures.url("/a.png"))
    assert len(pictures.hits) == len(hosts)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "//127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}"]
)
async def test_a_redirect_to_another_scheme_or_without_one_is_refused(
    location: str, canary: PictureServer, pictures: PictureServer
) -> None:
    pictures.replies["/a.png"] = redirect(location.format(port=canary.port))
    policy = FetchPolicy(exceptions=frozenset({("127.0.0.1", pictures.port)}))
    await _refuse(make_fetcher(policy), pictures.url("/a.png"))


async def test_a_name_that_turns_private_between_check_and_use_is_connected_to_where_it_was_checked(
    canary: PictureServer, pictures: PictureServer
) -> None:
    """DNS rebinding: one fetch asks for the name once, and dials what that answer said."""
    pictures.replies["/"] = answer(b"public")
    names = FakeNames(rebind_example=[[PUBLIC], ["127.0.0.1"]])
    network = PublicNetwork(pictures)
    url = f"http://rebind.example:{canary.port}/"
    first = make_fetcher(resolver=names, network=network)
    assert await first.fetch(url, max_bytes=1000) == b"public"
    await first.aclose()
    assert names.asked == ["rebind.example"]
    assert network.dialled == [PUBLIC]
    await _refuse(make_fetcher(resolver=names, network=network), url)
    assert network.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["::1", PUBLIC], [PUBLIC, "fe80::1%eth0"], []]
)
async def test_a_name_is_refused_if_any_of_its_addresses_is_private(
    addresses: list[str], canary: PictureServer
) -> None:
    network = PublicNetwork(canary)
    names = FakeNames(mixed_example=[addresses])
    await _refuse(make_fetcher(resolver=names, network=network), f"http://mixed.example:{canary.port}/")
    assert network.dialled == []


async def test_refusals_do_not_tell_a_private_name_from_one_that_does_not_exist() -> None:
    """Otherwise callers could list the names of the internal network."""
    names = FakeNames(a_internal=[["10.0.0.7"]])
    exists = await _refuse(make_fetcher(resolver=names), "http://a.internal/")
    unknown = await _refuse(make_fetcher(resolver=names), "http://b.internal/")
    assert exists.message == unknown.message.replace("b.internal", "a.internal")
    assert "10.0.0.7" not in exists.message


async def test_proxies_of_the_environment_are_not_used(
    canary: PictureServer, pictures: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve names itself, behind the guard's back."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, canary.url())
    pictures.replies["/a.png"] = answer(b"direct")
    fetcher = make_fetcher(FetchPolicy(exceptions=frozenset({("127.0.0.1", pictures.port)})))
    assert await fetcher.fetch(pictures.url("/a.png"), max_bytes=1000) == b"direct"
    await fetcher.aclose()


async def test_an_exception_is_one_port_of_one_host(canary: PictureServer, pictures: PictureServer) -> None:
    pictures.replies["/a.png"] = answer(b"picture")
    policy = FetchPolicy(exceptions=frozenset({("127.0.0.1", pictures.port)}))
    fetcher = make_fetcher(policy)
    assert await fetcher.fetch(pictures.url("/a.png"), max_bytes=1000) == b"picture"
    await fetcher.aclose()
    await _refuse(make_fetcher(policy), canary.url())
    await _refuse(make_fetcher(policy), f"http://localhost:{pictures.port}/a.png")


async def test_a_port_that_nobody_listens_on_is_the_callers_error_not_ours() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        fetcher = make_fetcher(FetchPolicy(exceptions=frozenset({("127.0.0.1", port)})))
        with pytest.raises(FetchFailedError) as failure:
            await fetcher.fetch(f"http://127.0.0.1:{port}/", max_bytes=1000)
        await fetcher.aclose()
    assert isinstance(failure.value, RequestError)
