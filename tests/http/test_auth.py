"""Keys: needed on every route but health and readiness once one exists, and nowhere before."""

from dataclasses import replace

import pytest

from ingrain.errors import AuthenticationError, SettingsError
from ingrain.server.dialects.ollama.dialect import on_own_port
from ingrain.server.dialects.table import DIALECTS
from ingrain.server.http.incoming import parse_request
from ingrain.server.http.message import Response
from ingrain.server.plane.application import PlaneApplication
from ingrain.server.plane.auth import parse_keys
from ingrain.settings import Settings
from planes import running_planes

ROUTES = [
    replace(route, path=mount + route.path)
    for dialect in (*DIALECTS, *on_own_port(DIALECTS))
    for mount in dialect.mounts
    for route in dialect.routes
]
CLOSED = [route for dialect in DIALECTS for route in dialect.routes if route.scope is not None]
HEALTH = {"/health", "/ready", "/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready"}
ON_OLLAMAS_PORT = {"/"}  # "Ollama is running"


def test_only_routes_of_health_and_readiness_are_open():
    assert {route.path for route in ROUTES if route.scope is None} == HEALTH | ON_OLLAMAS_PORT


async def test_a_route_is_closed_however_its_path_is_written(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good",))) as planes:
        applications = [PlaneApplication(plane, planes.services, DIALECTS) for plane in ("inference", "model")]
        applications.append(PlaneApplication("inference", planes.services, on_own_port(DIALECTS)))
        for route in ROUTES:
            methods = (route.method, "HEAD") if route.method == "GET" else (route.method,)
            named = route.path.replace("{model}", "org/model")
            encoded = "".join(char if char == "/" else f"%{ord(char):02x}" for char in named)
            for url in (route.path, f"{named}/", f"{named}//", f"/{named}", encoded, f"{named}?key=good"):
                for request in (parse_request(method.encode(), url.encode(), {}) for method in methods):
                    for application in applications if route.scope is not None else ():
                        answer = application.begin(request)
                        assert isinstance(answer, Response), (request.method, url)
                        assert answer.status in (401, 404, 405), (request.method, url)


async def call(planes, route, key=None):
    client = planes.model if route.plane == "model" else planes.inference
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await client.request(route.method, route.path, headers=headers)


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: route.path)
async def test_every_guarded_route_refuses_without_a_key(tmp_path, route):
    async with running_planes(tmp_path, Settings(api_keys=("good",))) as planes:
        for key, status in ((None, 401), ("bad", 401)):
            answer = await call(planes, route, key)
            assert answer.status_code == status
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await call(planes, route, "good")).status_code not in (401, 403)


async def test_health_and_readiness_need_no_key(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good",))) as planes:
        for path in ("/health", "/ready"):
            assert (await planes.inference.get(path)).status_code == 200


async def test_the_readiness_of_a_model_needs_a_key_and_the_list_of_models_too(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good",))) as planes:
        await planes.load(key="good")
        known = {"authorization": "Bearer good"}
        for client in (planes.inference, planes.model):
            assert (await client.get("/ready?model=org/model")).status_code == 401
            assert (await client.get("/ready?model=nope")).status_code == 401
            assert (await client.get("/ready?model=org/model", headers=known)).status_code == 200
            assert (await client.get("/ready?model=nope", headers=known)).status_code == 404
            assert (await client.get("/ready")).json()["models"] == []
            assert [one["name"] for one in (await client.get("/ready", headers=known)).json()["models"]] == [
                "org/model"
            ]


async def test_a_key_opens_its_scopes_only(tmp_path):
    keys = ("reader:infer+metrics", "admin:models")
    async with running_planes(tmp_path, Settings(api_keys=keys)) as planes:
        for route in CLOSED:
            reader, admin = await call(planes, route, "reader"), await call(planes, route, "admin")
            assert (reader.status_code == 403) is (route.scope == "models")
            assert (admin.status_code == 403) is (route.scope != "models")


async def test_a_scope_without_any_key_is_closed_too(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("admin:models",))) as planes:
        assert (await planes.inference.get("/metrics")).status_code == 401
        assert (await planes.inference.get("/metrics", headers={"authorization": "Bearer admin"})).status_code == 403


@pytest.mark.parametrize("path", ["/", "/openapi.json"])
async def test_pages_need_a_key_of_any_scope(tmp_path, path):
    async with running_planes(tmp_path, Settings(api_keys=("admin:models",))) as planes:
        for client in (planes.inference, planes.model):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"authorization": "Bearer admin"})).status_code == 200
    async with running_planes(tmp_path) as planes:
        assert (await planes.inference.get(path)).status_code == 200


async def test_readiness_tells_details_only_with_a_key(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good:infer",))) as planes:
        planes.engine.die()
        without = await planes.inference.get("/ready")
        with_key = await planes.inference.get("/ready", headers={"authorization": "Bearer good"})
        of_others = [await planes.inference.get(path) for path in ("/v1/health/ready", "/v2/health/ready")]
    assert without.status_code == with_key.status_code == 503
    assert without.json()["reasons"] == []
    assert with_key.json()["reasons"] == ["The engine does not answer."]
    assert [answer.status_code for answer in of_others] == [503, 503]
    assert not any("does not answer" in answer.text for answer in of_others)


def test_keys_are_read_from_a_file_too(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# comment\n\nfrom-file:infer\n")
    parse_keys((), file).check("infer", b"Bearer from-file")


def test_a_wrong_scope_is_named_and_no_key_shown():
    with pytest.raises(SettingsError) as caught:
        parse_keys(["secret:infer+everything"])
    assert "secret" not in caught.value.message


def test_scopes_without_a_key_stop_the_start():
    with pytest.raises(SettingsError, match="no key before"):
        parse_keys(["good", ":infer"])


def test_a_key_that_is_given_twice_has_both_scopes():
    ring = parse_keys(["k:infer", "k:models"])
    ring.check("infer", b"Bearer k")
    ring.check("models", b"Bearer k")
    with pytest.raises(AuthenticationError):
        ring.check("infer", None)


def test_a_file_without_keys_does_not_open_the_server(tmp_path):
    (tmp_path / "keys").write_text("# nothing yet\n")
    with pytest.raises(SettingsError):
        parse_keys([], tmp_path / "keys")
