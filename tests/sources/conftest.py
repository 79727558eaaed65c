import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_model import SILENCE_S, Fetcher
from huggingface_hub import close_session, constants, file_download

from hub_server import HubServer
from ingrain.sources import hub_retry


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
    # As in the export process: with telemetry on, huggingface_hub asks huggingface.co what its user agent should say.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    # Waits as in life, only shorter.
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", SILENCE_S)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 50)))
    monkeypatch.setattr(hub_retry, "_FIRST_DELAY_S", 0.01)
    return Fetcher(hub, tmp_path / "cache")
