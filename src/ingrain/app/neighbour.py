"""Finds out whether the server that holds a port is an Ingrain."""

from __future__ import annotations

import httpx

_TIMEOUT_S = 1.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not bound


def is_ingrain(host: str, port: int, *schemes: str) -> bool:
    """Return True if an Ingrain server answers at a port.

    Args:
        host: The address on which that server, or this one, listens.
        port: The port; not that of gRPC.
        schemes: ``http``, ``https`` or both, in the order in which they are tried.
    """
    host = _EVERY_ADDRESS.get(host, host)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return any(_answers(f"{scheme}://{place}/health") for scheme in schemes)


def _answers(url: str) -> bool:
    try:
        # The certificate may name another host; no secret is sent.
        answer = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.status_code == 200 and "server is running" in answer.text
