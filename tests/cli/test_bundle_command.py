"""`ingrain bundle`: what it writes it accepts, and flags that do not go together are told."""

import json

import pytest

from ingrain.app.bundle import bundled_models
from ingrain.cli.main import main
from ingrain.errors import SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from ingrain.settings import Settings
from planes import FakeExport


@pytest.fixture
async def repository(tmp_path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    with repository.staging() as folder:
        await FakeExport()(ModelRef(name="org/model"), folder, lambda _: None)
        repository.publish(folder)
    return repository


def test_a_written_bundle_is_accepted(repository, tmp_path, capsys):
    file = str(tmp_path / "models.bundle")
    assert main(["bundle", "org/model", "-o", file, "--repository", str(repository.root)]) == 0
    assert "org/model" in capsys.readouterr().out
    assert main(["bundle", "--verify", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["org/model"]
    assert main(["bundle", "org/none", "-o", file, "--repository", str(repository.root)]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["bundle"],
        ["bundle", "org/model"],
        ["bundle", "-o", "x"],
        ["bundle", "--verify", "x", "-o", "y"],
        ["bundle", "org/model", "-o", "x", "--public-key", "y"],
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(arguments):
    assert main(arguments) == 2


def test_a_public_key_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="INGRAIN_BUNDLE_PUBLIC_KEY"):
        bundled_models(Settings(bundle_public_key=tmp_path / "key.pem"), Repository(tmp_path))
