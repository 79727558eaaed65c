"""The options of a client, with defaults from the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ingrain import __version__
from ingrain.client.retry import RetryPolicy
from ingrain.errors import SettingsError
from ingrain.vocabulary import Plane

_DEFAULT_URLS: dict[Plane, str] = {"inference": "http://127.0.0.1:8686", "model": "http://127.0.0.1:8687"}
_URL_VARIABLES: dict[Plane, str] = {"inference": "INGRAIN_INFERENCE_URL", "model": "INGRAIN_MODEL_URL"}
_SWITCH = {**dict.fromkeys(("", "true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneOptions:
    """How to connect to one plane.

    Attributes:
        url: Address without a trailing slash; may have a path, for a plane behind a proxy.
        headers: Headers of every request, with the API key.
        verify: Certificate check of an https address; False for http.
        trust_env: True to use the proxies of the environment; False for loopback addresses.
    """

    url: str
    headers: Mapping[str, str]
    verify: ssl.SSLContext | bool
    trust_env: bool

    def certificate_check(self) -> ssl.SSLContext | bool:
        """Return ``verify`` as httpx takes it, with ``SSL_CERT_FILE`` of the environment for every host."""
        return httpx.create_ssl_context() if self.verify is True else self.verify

    def __reduce__(self) -> tuple[object, ...]:
        if isinstance(self.verify, ssl.SSLContext):
            raise TypeError(
                "A client with a certificate context of its own (verify=…) cannot be pickled: make it where it is used."
            )
        return _plane_options, (self.url, dict(self.headers), self.verify, self.trust_env)


def _plane_options(url: str, headers: Mapping[str, str], verify: bool, trust_env: bool) -> PlaneOptions:
    return PlaneOptions(url=url, headers=headers, verify=verify, trust_env=trust_env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of all requests of a client.

    Attributes:
        planes: How to connect to each plane.
        timeout_s: Timeout of a response in seconds.
        connect_timeout_s: Timeout of a connection in seconds, at most the timeout of a response.
        load_timeout_s: Timeout in seconds for loading a model, which may include its conversion.
        concurrency: Concurrent requests of calls with several requests.
        batch_size: Largest number of texts in one request.
        return_numpy: True for vectors as numpy arrays.
        retry: Which failures are retried, and when.
        match_request_ids: True to refuse responses whose request id differs from the request's.
    """

    planes: Mapping[Plane, PlaneOptions]
    timeout_s: float
    connect_timeout_s: float
    load_timeout_s: float
    concurrency: int
    batch_size: int
    return_numpy: bool
    retry: RetryPolicy
    match_request_ids: bool

    def __deepcopy__(self, memo: object) -> Options:
        return self  # the options are immutable, and an SSL context cannot be copied


def make_options(
    *,
    inference_server_url: str | None,
    model_server_url: str | None,
    timeout: float,
    connect_timeout: float,
    load_timeout: float,
    return_numpy: bool,
    api_key: str | None,
    model_api_key: str | None,
    headers: Mapping[str, str] | None,
    concurrency: int,
    batch_size: int,
    retry: RetryPolicy | None,
    verify: ssl.SSLContext | bool,
    match_request_ids: bool | None,
) -> Options:
    """Check a client's arguments, and add defaults from the environment.

    Raises:
        SettingsError: A value is invalid.
    """
    for name, value in (("timeout", timeout), ("connect_timeout", connect_timeout), ("load_timeout", load_timeout)):
        if not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise SettingsError(f"{name} is {value!r}; it must be a number of seconds above 0.", param=name)
    for name, count in (("concurrency", concurrency), ("batch_size", batch_size)):
        if not isinstance(count, int) or count < 1:
            raise SettingsError(f"{name} is {count!r}; it must be a whole number from 1 on.", param=name)
    return Options(
        planes={
            "inference": _plane("inference", inference_server_url, api_key=api_key, headers=headers, verify=verify),
            "model": _plane(
                "model", model_server_url, api_key=model_api_key or api_key, headers=headers, verify=verify
            ),
        },
        timeout_s=timeout,
        connect_timeout_s=connect_timeout,
        load_timeout_s=load_timeout,
        concurrency=concurrency,
        batch_size=batch_size,
        return_numpy=return_numpy,
        retry=retry or RetryPolicy(),
        match_request_ids=_matching_of_environment() if match_request_ids is None else match_request_ids,
    )


def _plane(
    plane: Plane,
    url: str | None,
    *,
    api_key: str | None,
    headers: Mapping[str, str] | None,
    verify: ssl.SSLContext | bool,
) -> PlaneOptions:
    """Return the options of one plane, with defaults from the environment."""
    given = url or os.environ.get(_URL_VARIABLES[plane], "").strip() or _DEFAULT_URLS[plane]
    host, is_https = _check(given, plane)
    key = api_key or _key_of_environment(plane)
    sent = {"User-Agent": f"ingrain-python/{__version__}", **(headers or {})}
    for name, value in sent.items():
        if not (isinstance(value, str) and _fits_header(value)):
            raise SettingsError(f"The header {name} has a value that is not allowed in a header.", param="headers")
    if key:
        sent["Authorization"] = f"Bearer {_checked_key(key)}"
    return PlaneOptions(
        url=given.rstrip("/"),
        headers=sent,
        verify=verify if is_https else False,
        trust_env=host not in _LOOPBACK,
    )


def _key_of_environment(plane: Plane) -> str | None:
    names = ("INGRAIN_MODEL_API_KEY", "INGRAIN_API_KEY") if plane == "model" else ("INGRAIN_API_KEY",)
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def _matching_of_environment() -> bool:
    text = os.environ.get("INGRAIN_MATCH_REQUEST_IDS", "").strip().lower()
    if text not in _SWITCH:
        raise SettingsError(
            f"INGRAIN_MATCH_REQUEST_IDS is {text!r}; it must be true or false.", param="INGRAIN_MATCH_REQUEST_IDS"
        )
    return _SWITCH[text]


def _checked_key(key: str) -> str:
    if not _fits_header(key):
        raise SettingsError("The API key has characters that are not allowed in a header.", param="api_key")
    return key


def _fits_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _check(url: str, plane: Plane) -> tuple[str, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or port == 0 or parts.query or parts.fragment:
        raise SettingsError(
            f"The address of the {plane} plane is {url!r}; it must be http://HOST:PORT or https://HOST "
            f"({_URL_VARIABLES[plane]}).",
            param=f"{plane}_server_url",
        )
    return host, parts.scheme == "https"
