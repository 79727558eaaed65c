"""Some four hundred requests as bytes, good and bad ones: each is answered as HTTP and the routes say."""

import gzip
import itertools
import json

import pytest

from ingrain.server.dialects.table import DIALECTS
from raw_http import ask, planes_in_a_thread, request

ROUTES = [route for dialect in DIALECTS for route in dialect.routes]
PATHS: dict[tuple[str, str], set[str]] = {}
for _route in ROUTES:
    _path = _route.path.replace("{model}", "org/model")
    PATHS.setdefault((_route.plane, _path), set()).add(_route.method)
for _plane, _path in itertools.product(("inference", "model"), ("/", "/docs", "/openapi.json")):
    PATHS.setdefault((_plane, _path), set()).add("GET")
GETS = [(plane, path) for (plane, path), methods in PATHS.items() if "GET" in methods]
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "TRACE")
GOOD = json.dumps({"name": "org/model", "text": "red"}).encode()
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    with planes_in_a_thread(tmp_path_factory.mktemp("planes")) as ports:
        yield ports


def allowed(plane: str, path: str) -> set[str]:
    methods = PATHS[plane, path]
    return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


@pytest.mark.parametrize(
    ("plane", "path", "method"),
    [(*place, method) for place, methods in PATHS.items() for method in METHODS if method not in methods],
)
def test_a_method_that_a_route_lacks_is_405_and_tells_the_others(ports, plane, path, method):
    reply = ask(ports[plane], request(method, path))
    assert reply.status == 405
    assert "does not take" in reply.body.decode()  # in the words of the path's dialect
    assert set(reply.headers["allow"].split(", ")) == allowed(plane, path)


@pytest.mark.parametrize(("plane", "path"), PATHS)
def test_options_tells_the_methods_of_a_route_and_allows_no_other_site(ports, plane, path):
    origin = ("Origin: https://elsewhere.example", "Access-Control-Request-Method: POST")
    reply = ask(ports[plane], request("OPTIONS", path, *origin))
    assert (reply.status, reply.body) == (200, b"")
    assert set(reply.headers["allow"].split(", ")) == allowed(plane, path)
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("plane", "path"), GETS)
def test_head_and_a_slash_at_the_end_answer_as_get_does(ports, plane, path):
    plain = ask(ports[plane], request("GET", path))
    assert plain.status < 500
    head = ask(ports[plane], request("HEAD", path))
    assert (head.status, head.body) == (plain.status, b"")
    assert (int(head.headers["content-length"]) > 0) == bool(plain.body)
    if path != "/":
        assert ask(ports[plane], request("GET", f"{path}/")).status == plain.status


def test_options_for_the_whole_server_is_answered(ports):
    assert ask(ports["inference"], request("OPTIONS", "*")).status == 200


def test_a_post_with_a_slash_at_the_end_is_served(ports):
    reply = ask(ports["inference"], request("POST", "/embed_text/", JSON, body=GOOD))
    assert reply.status == 200
    assert "embeddings" in json.loads(reply.body)


@pytest.mark.parametrize("path", ["/nothing", "/embed_text/more", "/v1", "/%2e%2e/embed_text", "/embed_text%00"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_path_that_no_route_has_is_404(ports, path, method):
    reply = ask(ports["inference"], request(method, path))
    assert (reply.status, reply.error["code"]) == (404, "route_not_found")


# --- hosts ---------------------------------------------------------------------------------------------------------

BAD_HOSTS = [
    None,
    "",
    "a b",
    "a, b",
    "a/b",
    "a?b",
    "a#b",
    "user@localhost",
    "local\\host",
    "localhost:port",
    "localhost:123456",
    "localhost:80:80",
    "[::1",
    "::1",
    "[localhost]",
    "[::1]x",
    '"localhost"',
    "<localhost>",
    "h\xf6st",
    "localhost\t:80",
]
OWN_HOSTS = ["localhost", "LOCALHOST", "localhost:1", "localhost:", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:80"]
FOREIGN_HOSTS = [
    "elsewhere.example",
    "elsewhere.example:8686",
    "localhost.elsewhere.example",
    "127.0.0.1.nip.io",
    "192.168.0.1",
    "[::2]",
    "localhosts",
    "127.0.0.2",
    "0.0.0.0",
]


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("plane", ["inference", "model"])
def test_no_host_or_one_that_cannot_be_is_400(ports, plane, host):
    reply = ask(ports[plane], request("GET", "/health", host=host))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("hosts", [("localhost", "localhost"), ("localhost", "a"), ("", "localhost")])
def test_two_hosts_are_400(ports, hosts):
    reply = ask(ports["inference"], request("GET", "/health", *(f"Host: {host}" for host in hosts), host=None))
    assert reply.status == 400


@pytest.mark.parametrize("plane", ["inference", "model"])
@pytest.mark.parametrize("host", OWN_HOSTS)
def test_the_names_of_this_machine_are_served(ports, plane, host):
    assert ask(ports[plane], request("GET", "/health", host=host)).status == 200
    whole = f"http://{host.removesuffix(':')}/health"
    assert ask(ports[plane], request("GET", whole, host="elsewhere.example")).status == 200


@pytest.mark.parametrize("plane", ["inference", "model"])
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_somebody_made_point_here_is_403(ports, plane, host):
    for path in ("/health", "/loaded_models", "/nothing"):
        reply = ask(ports[plane], request("GET", path, host=host))
        assert (reply.status, reply.error["param"]) == (403, "Host")
        assert "INGRAIN_ALLOWED_HOSTS" in reply.error["message"]
    assert ask(ports[plane], request("GET", f"http://{host}/health")).status == 403


def test_http_1_0_needs_no_host(ports):
    assert ask(ports["inference"], b"GET /health HTTP/1.0\r\n\r\n").status == 200


# --- request lines, lengths and codings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "GET /health",
        "GET  /health HTTP/1.1 x",
        "get /health HTTP/1.1",
        "BREW /health HTTP/1.1",
        "GET /hea lth HTTP/1.1",
        "GET health HTTP/1.1",
        "GET /health HTTP/1.2",
        "GET /health HTTP/2.0",
        "GET /health HTTP/0.9",
        "GET /health http/1.1",
        "GET /health HTTX/1.1",
        "GET /h\xe9alth HTTP/1.1",
        "GET /\x00 HTTP/1.1",
        "GET\t/health HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET ftp://localhost/health HTTP/1.1",
        "GET http://a@localhost/health HTTP/1.1",
        "GET http:///health HTTP/1.1",
    ],
)
def test_a_request_line_that_is_not_http_1_is_400(ports, line):
    reply = ask(ports["inference"], f"{line}\r\nHost: localhost\r\n\r\n".encode("latin-1"))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "header",
    [
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0x5",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:",
        "X y: z",
        "X : y",
        ": z",
        "X\x01: z",
        "X: a\x00b",
        "X: a\r\n b",
    ],
)
def test_headers_that_frame_a_body_in_two_ways_or_are_none_are_400(ports, header):
    head = f"POST /embed_text HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
    reply = ask(ports["inference"], head.encode("latin-1") + b"5\r\nhello\r\n0\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("path", ["/embed_text", "/load_model", "/nothing"])
@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "identity", "deflate, chunked", "xchunked", "chunked;q=1", "br", "compress"]
)
def test_a_transfer_coding_other_than_chunked_is_501(ports, path, coding):
    head = request("POST", path, f"Transfer-Encoding: {coding}").replace(b"Content-Length: 0\r\n", b"")
    reply = ask(ports["inference"], head)
    assert (reply.status, reply.error["code"]) == (501, "unsupported_transfer_coding")
    assert reply.headers["connection"] == "close"


def chunked(*chunks: bytes) -> bytes:
    head = request("POST", "/embed_text", JSON, "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@pytest.mark.parametrize("size", [1, 2, 7, len(GOOD)])
def test_a_body_in_chunks_is_read(ports, size):
    pieces = [GOOD[at : at + size] for at in range(0, len(GOOD), size)]
    assert ask(ports["inference"], chunked(*pieces)).status == 200


@pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"5\r\nhelloX", b"1 1\r\na\r\n", b"\r\n"])
def test_chunks_that_do_not_fit_are_400(ports, broken):
    assert ask(ports["inference"], chunked()[:-5] + broken).status == 400


# --- content codings -------------------------------------------------------------------------------------------------

CODED = {
    "/embed_text": GOOD,
    "/embed": GOOD,
    "/v1/embeddings": json.dumps({"model": "org/model", "input": "red"}).encode(),
    "/infer_text": GOOD,
}


PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize("path", CODED)
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "gzip, identity"])
def test_a_body_in_gzip_is_read(ports, path, coding):
    body = gzip.compress(CODED[path])
    reply = ask(ports["inference"], request("POST", path, JSON, f"Content-Encoding: {coding}", body=body))
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("path", CODED)
@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "gzip, br", "aes128gcm", "?"])
def test_a_body_in_another_coding_is_415(ports, path, coding):
    reply = ask(ports["inference"], request("POST", path, JSON, f"Content-Encoding: {coding}", body=CODED[path]))
    assert (reply.status, reply.headers["accept-encoding"]) == (415, "gzip")
    assert coding in reply.error["message"]


@pytest.mark.parametrize("coding", ["identity", ""])
def test_a_body_without_a_coding_is_read_as_it_is(ports, coding):
    reply = ask(ports["inference"], request("POST", "/embed_text", JSON, f"Content-Encoding: {coding}", body=GOOD))
    assert reply.status == 200


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        b"",
        PACKED[:-3],
        PACKED[:20],
        PACKED * 2,
        PACKED + b"x",
    ],
)
def test_a_body_that_is_not_one_gzip_file_is_400(ports, body):
    reply = ask(ports["inference"], request("POST", "/embed_text", JSON, "Content-Encoding: gzip", body=body))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert "gzip" in reply.error["message"]


# --- browsers --------------------------------------------------------------------------------------------------------

CHANGES = [
    ("inference", "POST", "/embed_text"),
    ("inference", "POST", "/v1/embeddings"),
    ("model", "POST", "/unload_model"),
    ("model", "DELETE", "/delete_model"),
]
ORIGINS = {
    None: True,
    "http://localhost:8686": True,
    "http://localhost:8687": False,
    "http://127.0.0.1:8686": False,
    "https://elsewhere.example": False,
    "http://localhost:8686.elsewhere.example": False,
    "null": False,
    "file://": False,
}
FETCH_SITES = {None: True, "same-origin": True, "none": True, "cross-site": False}


@pytest.mark.parametrize(("plane", "method", "path"), CHANGES)
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("fetch_site", FETCH_SITES)
def test_pages_of_other_sites_change_nothing(ports, plane, method, path, origin, fetch_site):
    headers = [JSON]
    headers += [f"Origin: {origin}"] if origin is not None else []
    headers += [f"Sec-Fetch-Site: {fetch_site}"] if fetch_site is not None else []
    reply = ask(ports[plane], request(method, path, *headers, body=b'{"name": "x"}', host="localhost:8686"))
    is_accepted = ORIGINS[origin] and FETCH_SITES[fetch_site]
    assert (reply.status == 403) is not is_accepted
    assert reply.error["code"] == "foreign_site" or is_accepted
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(("plane", "path"), GETS)
def test_links_of_other_sites_are_followed(ports, plane, path):
    headers = ("Origin: https://elsewhere.example", "Sec-Fetch-Site: cross-site")
    reply = ask(ports[plane], request("GET", path, *headers))
    assert reply.status == ask(ports[plane], request("GET", path)).status
    assert "access-control-allow-origin" not in reply.headers


MEDIA = {
    "application/json": True,
    "application/json; charset=utf-8": True,
    "APPLICATION/JSON": True,
    "application/vnd.api+json": True,
    "text/plain": False,
    "text/plain;charset=UTF-8": False,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=x": False,
    "text/json+x": False,
    "": False,
}


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize(("plane", "method", "path"), CHANGES)
def test_a_browser_must_say_that_it_sends_json_and_other_programs_need_not(ports, plane, method, path, media):
    body = b'{"name": "x", "input": 1}'
    headers = [f"Content-Type: {media}"] if media else []
    from_browser = ask(ports[plane], request(method, path, *headers, "Sec-Fetch-Site: same-origin", body=body))
    assert from_browser.status == (400 if MEDIA[media] else 415)
    assert ask(ports[plane], request(method, path, *headers, body=body)).status == 400
