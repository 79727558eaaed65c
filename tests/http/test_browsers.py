"""What pages of other origins may do where the operator allows it, and under which names the server answers."""

import pytest

from ingrain.app.limits import fetch_policy
from ingrain.app.sites import site_policy, warn_if_open
from ingrain.errors import SettingsError
from ingrain.settings import Settings
from raw_http import ask, planes_in_a_thread, request

APP, OTHER = "https://app.example.com", "https://elsewhere.example"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    settings = Settings(cors_origins=(f"{APP}/",), allowed_hosts=("Embeddings.example.com",), api_keys=("key",))
    with planes_in_a_thread(tmp_path_factory.mktemp("planes"), settings, key="key") as ports:
        yield ports


@pytest.mark.parametrize("plane", ["inference", "model"])
def test_a_page_of_an_allowed_origin_asks_first_and_reads_the_answer(ports, plane):
    path = "/embed_text" if plane == "inference" else "/unload_model"
    asked = ask(ports[plane], request("OPTIONS", path, f"Origin: {APP}", "Access-Control-Request-Method: POST"))
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == APP
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert {"Authorization", "Content-Type"} <= set(asked.headers["access-control-allow-headers"].split(", "))
    body = b'{"name": "org/model", "text": "red"}'
    headers = (JSON, f"Origin: {APP}", "Sec-Fetch-Site: cross-site", "Authorization: Bearer key")
    answered = ask(ports[plane], request("POST", path, *headers, body=body))
    assert answered.status == (200 if plane == "inference" else 400)
    assert answered.headers["access-control-allow-origin"] == APP
    assert answered.headers["vary"] == "Origin"
    assert "X-Request-Id" in answered.headers["access-control-expose-headers"]


def test_errors_and_pages_are_readable_for_an_allowed_origin_too(ports):
    for path in ("/nothing", "/docs", "/ready"):
        reply = ask(ports["inference"], request("GET", path, f"Origin: {APP}"))
        assert reply.headers["access-control-allow-origin"] == APP


def test_a_page_of_another_origin_gets_nothing(ports):
    for method in ("OPTIONS", "GET", "POST"):
        reply = ask(ports["inference"], request(method, "/embed_text", JSON, f"Origin: {OTHER}", body=b"{}"))
        assert "access-control-allow-origin" not in reply.headers
    assert reply.status == 403


def test_one_answer_for_an_allowed_origin_leaves_no_trace_in_the_next(ports):
    for origin, is_allowed in ((APP, True), (OTHER, False), (None, False), (APP, True)):
        headers = [f"Origin: {origin}"] if origin else []
        reply = ask(ports["inference"], request("GET", "/docs", *headers, "Authorization: Bearer key"))
        assert reply.status == 200
        assert ("access-control-allow-origin" in reply.headers) is is_allowed


def test_a_name_that_the_operator_adds_is_served(ports):
    for host, status in (("embeddings.example.com:443", 200), ("localhost", 200), ("elsewhere.example", 403)):
        assert ask(ports["inference"], request("GET", "/health", host=host)).status == status


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        (Settings(), {"localhost", "127.0.0.1", "::1"}),
        (Settings(host="127.0.0.5"), {"localhost", "127.0.0.1", "::1", "127.0.0.5"}),
        (Settings(host="::1"), {"localhost", "127.0.0.1", "::1"}),
        (Settings(host="localhost"), {"localhost", "127.0.0.1", "::1"}),
        (Settings(allowed_hosts=("*",)), None),
        (Settings(host="0.0.0.0"), None),
        (
            Settings(host="0.0.0.0", allowed_hosts=("A.example",)),
            {"localhost", "127.0.0.1", "::1", "0.0.0.0", "a.example"},
        ),
    ],
)
def test_names_are_checked_on_the_loopback_interface_or_if_there_are_some(settings, hosts):
    assert site_policy(settings).hosts == hosts


@pytest.mark.parametrize(
    ("setting", "right", "wrong"),
    [
        ("allowed_hosts", ("a", "10.0.0.7", "fd00::7", "*"), ("http://a", "a:8686", "[::1]", "a/b", "*.example.com")),
        ("fetch_hosts", ("a.example", "*.a.example", "fd00::7"), ("https://a", "a:443", "a/b", "*", "a.*")),
        ("cors_origins", ("*", "https://a:3000/", "null", "app://x.y"), ("a", "a:3000", "https://a/b", "https://*.a")),
    ],
)
def test_entries_that_would_never_match_stop_the_start(setting, right, wrong):
    build = fetch_policy if setting == "fetch_hosts" else site_policy
    build(Settings(**{setting: right}))
    for entry in wrong:
        with pytest.raises(SettingsError, match=f"INGRAIN_{setting.upper()} has"):
            build(Settings(**{setting: ("a.example" if setting != "cors_origins" else "http://a", entry)}))


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        (Settings(), False),
        (Settings(host="0.0.0.0"), True),
        (Settings(host="::"), True),
        (Settings(host="192.168.1.7"), True),
        (Settings(host="0.0.0.0", api_keys=("key",)), False),
    ],
)
def test_a_server_that_others_reach_without_a_key_is_warned_of(settings, warns, caplog):
    warn_if_open(settings)
    assert ("without API keys" in caplog.text) is warns
