import pytest

from bulk_repository import write_repository


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A repository with a model of texts and one of images."""
    return write_repository(tmp_path_factory.mktemp("bulk") / "repository")
