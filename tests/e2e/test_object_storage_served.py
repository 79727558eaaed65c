"""A server process on a bucket serves what another server has published there, and lets go of what that one unloads."""

import shutil

import httpx
import pytest

from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.object_storage.repository import ObjectStorageRepository
from ingrain.repository.object_storage.store import ObjectStore
from ingrain.repository.store import Repository
from object_stores import s3_server
from processes import MINILM, serve

pytest.importorskip("moto")
pytest.importorskip("s3fs")

pytestmark = pytest.mark.slow

SECRET = "bucket-secret"


def publish_stored(source: Repository, target: ObjectStorageRepository) -> str:
    """Publish the only model of a folder in object storage, and list it to be loaded; return its key."""
    (entry,) = source.entries()
    with target.staging() as folder:
        shutil.copytree(entry.folder, folder / "model")
        for graph in entry.manifest.graphs:
            shutil.copytree(source.graph_folder(graph.name), folder / graph.name)
        target.publish(folder)
    target.list_model(entry.key, ModelRef(name=entry.manifest.name))
    return entry.key


def test_a_server_process_follows_the_bucket(stored, tmp_path, monkeypatch):
    with s3_server() as url:
        variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": url}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore("s3://served/models")
        store._files.mkdir("served")
        flags = (
            "--repository=s3://served/models",
            f"--repository-cache={tmp_path / 'cache'}",
            "--engine=onnxruntime",
            "--log-level=debug",
        )
        with serve(tmp_path, *flags) as server:
            server.wait_until_ready()
            other = ObjectStorageRepository(store, tmp_path / "other")
            other.prepare()
            key = publish_stored(Repository(stored / "repository"), other)
            # Ten seconds are promised; a busy machine gets more.
            server.wait_until(lambda: server.embed("hello").status_code == 200, 60)
            other.list_model(key, None)
            server.wait_until(lambda: server.embed("hello").status_code == 404, 60)
            listed = httpx.get(f"{server.model}/repository_models", timeout=30).json()["models"]
            assert [model["name"] for model in listed] == [MINILM]
        log = server.log.read_text()
        assert SECRET not in log
        assert "was downloaded from the object storage" in log
