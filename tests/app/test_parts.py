"""Settings that contradict each other end the start."""

import pytest

from ingrain.app.parts import build_parts
from ingrain.errors import SettingsError
from ingrain.settings import Settings


def test_the_port_without_the_dialect_is_refused_at_the_start(tmp_path):
    settings = Settings(ollama_port=11434, dialects=("openai",), repository=tmp_path, engine="onnxruntime")
    with pytest.raises(SettingsError, match="leaves `ollama` out") as caught:
        build_parts(settings)
    assert caught.value.param == "INGRAIN_OLLAMA_PORT"
