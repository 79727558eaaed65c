"""What a server says at its start about settings that are probably a mistake."""

import pytest

from ingrain.app.warnings import warn
from ingrain.settings import Settings


@pytest.mark.parametrize(
    ("variables", "settings", "said"),
    [
        ({}, Settings(), None),
        ({"INGRAIN_MODLE_PORT": "1"}, Settings(), "INGRAIN_MODEL_PORT"),
        ({}, Settings(local_models_dir="absent"), "absent"),
        ({}, Settings(host="0.0.0.0"), "without API keys"),
    ],
)
def test_what_is_probably_a_mistake_is_told(monkeypatch, caplog, tmp_path, variables, settings, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if settings.local_models_dir is not None:
        settings = Settings(local_models_dir=tmp_path / settings.local_models_dir)
    warn(settings)
    told = [record.getMessage() for record in caplog.records]
    assert (told == []) if said is None else any(said in line for line in told)
