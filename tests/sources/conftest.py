import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_model import Fetcher
from huggingface_hub import close_session

from hub_server import HubServer


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server
    close_session()


@pytest.fixture
def fetch(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    # A token or an offline mode of the machine that runs the tests must not decide them.
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert not os.environ.get("HF_HUB_OFFLINE")
    return Fetcher(hub, tmp_path / "cache")
