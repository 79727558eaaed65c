"""The repository in object storage, against a real S3 server: whole or not there, also when connections break."""

import asyncio
import itertools
import os
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
from entries import stage

from bulk_repository import TEXT_MODEL, expected_vectors, publish_models
from ingrain.bulk.local_model import LocalModel
from ingrain.bulk.wanted import Wanted
from ingrain.errors import (
    DamagedEntryError,
    ModelConflictError,
    RepositoryError,
    SettingsError,
    StorageRefusedError,
    StorageUnavailableError,
)
from ingrain.registry.memory import MemoryPolicy
from ingrain.repository.custom import describe_source
from ingrain.repository.models_to_load import ModelRef, read_desired
from ingrain.repository.names import model_key
from ingrain.repository.object_storage import transfer
from ingrain.repository.object_storage.claims import Claims
from ingrain.repository.object_storage.repository import ObjectStorageRepository
from ingrain.repository.object_storage.store import ObjectStore
from ingrain.repository.tuning import Machine, Tuning
from ingrain.testing.fake_engine import FakeEngine
from object_stores import CuttableProxy, s3_server
from planes import FakeExport, make_registry

pytest.importorskip("moto")
pytest.importorskip("s3fs")

pytestmark = pytest.mark.slow  # importing the S3 server and its clients takes seconds

KEY = model_key("org/model", "sentence_transformers")
BUCKETS = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def server():
    variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch, s3_server() as url:
        for name, value in {**variables, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        yield url


@pytest.fixture
def url(server, monkeypatch) -> str:
    monkeypatch.setattr(transfer, "_PAUSES_S", ())
    bucket = f"bucket-{next(BUCKETS)}"
    ObjectStore(f"s3://{bucket}/x")._files.mkdir(bucket)
    return f"s3://{bucket}/models"


@pytest.fixture
def connect(url, tmp_path):
    """Return a function that makes a server's repository, on the bucket of the test."""

    def connect(name: str, **changes) -> ObjectStorageRepository:
        repository = ObjectStorageRepository(ObjectStore(url), tmp_path / name, **changes)
        repository.prepare()
        return repository

    return connect


@pytest.fixture
def proxy(server, monkeypatch):
    proxy = CuttableProxy(urlsplit(server).port)
    with proxy.running() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield proxy


def publish(repository: ObjectStorageRepository, name: str = "org/model", weights: bytes = b"weights"):
    with repository.staging() as folder:
        stage(folder, name, weights)
        return repository.publish(folder)


def tuning(cores: int) -> Tuning:
    machine = Machine(engine="fake", instance_kind="KIND_CPU", cores=cores)
    return Tuning(machine=machine, graphs_sha256="", tuned_at="2026-11-30T00:00:00Z", seconds=1.0, graphs=())


def weights_in(repository: ObjectStorageRepository, key: str = KEY) -> bytes:
    return (repository.triton / f"{key}.text_encoder" / "1" / "model.onnx").read_bytes()


def test_what_one_server_publishes_lists_and_deletes_another_one_follows(connect):
    one, other = connect("one"), connect("other")
    publish(one)
    one.list_model(KEY, ModelRef(name="org/model"))
    other.sync()
    assert [entry.manifest.name for entry in other.entries()] == ["org/model"]
    assert read_desired(other.root) == (ModelRef(name="org/model"),)
    assert not (other.models / KEY).exists()  # it is downloaded when it is loaded
    entry = other.obtain(KEY)
    other.check(entry)
    assert weights_in(other) == b"weights"
    publish(one, weights=b"further")
    other.obtain(KEY)
    assert weights_in(other) == b"further"
    one.list_model(KEY, None)
    one.delete(KEY)
    other.sync()
    assert (other.entries(), read_desired(other.root), list(other.triton.iterdir())) == ([], (), [])
    assert other.obtain(KEY) is None
    assert one._store.list("objects") == {}


def test_a_connection_that_breaks_in_an_upload_leaves_nothing_and_the_next_try_heals(connect, proxy):
    one, other = connect("one"), connect("other")
    proxy.cut_after = 300_000
    with pytest.raises(StorageUnavailableError):
        publish(one, weights=os.urandom(2_000_000))
    assert proxy.cuts
    other.sync()
    assert (other.entries(), one.entries(), list(one.models.iterdir())) == ([], [], [])
    proxy.cut_after = None
    publish(one)
    assert other.obtain(KEY).manifest.name == "org/model"


@pytest.mark.parametrize("content", [b"weightz", b"weig", None], ids=["changed", "short", "missing"])
def test_a_damaged_object_is_never_served_until_the_model_is_published_again(connect, content):
    one, other = connect("one"), connect("other")
    entry = publish(one)
    (file,) = entry.manifest.graphs[0].files
    path = f"objects/models/{KEY}/{file.sha256}"
    if content is None:
        one._store.remove([path])
    else:
        one._store.write(path, content)
    with pytest.raises(DamagedEntryError):
        other.obtain(KEY)
    assert (list(other.models.iterdir()), list(other.triton.iterdir())) == ([], [])
    publish(one)
    other.check(other.obtain(KEY))


def test_a_damaged_local_copy_is_downloaded_again(connect):
    one = connect("one")
    publish(one)
    (one.triton / f"{KEY}.text_encoder" / "1" / "model.onnx").write_bytes(b"weightz")
    one.check(one.obtain(KEY))


def test_a_manifest_that_leads_elsewhere_is_refused(connect):
    one, other = connect("one"), connect("other")
    entry = publish(one)
    evil = msgspec.structs.replace(entry.manifest.files[0], path="../../escaped")
    manifest = msgspec.structs.replace(entry.manifest, files=(evil,))
    one._store.write(f"index/models/{KEY}/manifest.json", msgspec.json.encode(manifest))
    with pytest.raises(DamagedEntryError):
        other.obtain(KEY)
    assert [entry.key for entry in other.entries()] == [KEY]


def test_without_the_storage_the_local_copy_is_served_also_after_a_start(connect, proxy):
    one = connect("one")
    publish(one)
    one.list_model(KEY, ModelRef(name="org/model"))
    proxy.is_down = True
    assert one.obtain(KEY).manifest.name == "org/model"
    again = connect("one")
    assert again.obtain(KEY).manifest.name == "org/model"
    assert read_desired(again.root) == (ModelRef(name="org/model"),)
    for change in (
        lambda: again.obtain(model_key("org/other", "timm")),
        lambda: again.list_model(KEY, None),
        again.check_writable,
        again.sync,
    ):
        with pytest.raises(StorageUnavailableError):
            change()
    assert read_desired(again.root) == (ModelRef(name="org/model"),)
    proxy.is_down = False
    again.list_model(KEY, None)
    again.check_writable()


def test_a_bucket_that_is_not_there_ends_the_start_and_one_that_goes_away_changes_nothing(connect, url, tmp_path):
    missing = ObjectStorageRepository(ObjectStore("s3://no-such-bucket/x"), tmp_path / "missing")
    with pytest.raises(RepositoryError, match="does not exist"):
        missing.prepare()
    one = connect("one")
    publish(one)
    one._store._files.rm(url.removeprefix("s3://"), recursive=True)
    with pytest.raises(StorageRefusedError):
        one.sync()
    assert weights_in(one) == b"weights"


def test_a_claim_is_one_servers_until_it_is_given_back_or_its_holder_is_silent(url):
    one, other = (Claims(ObjectStore(url), beat_s=60, silent_s=0.0) for _ in range(2))
    release = one.claim("x")
    assert other.claim("x") is None  # seen for the first time, so it is not known to be silent
    release()
    held = other.claim("x")
    assert held is not None
    assert one.claim("x") is None
    assert one.claim("x") is not None  # as it was before
    assert len(ObjectStore(url).list("claims/x")) == 1
    held()  # too late to matter
    patient = Claims(ObjectStore(url), beat_s=60, silent_s=60)
    assert patient.claim("x") is None
    assert patient.claim("x") is None


def test_tunings_of_two_servers_are_both_kept(connect):
    one, other = connect("one"), connect("other")
    manifest = publish(one).manifest
    other.obtain(KEY)
    for repository, cores in ((one, 1), (other, 2)):
        repository.change_tunings(KEY, manifest, lambda known, cores=cores: (*known, tuning(cores)))
    assert [one.machine.cores for one in one.obtain(KEY).manifest.tunings] == [1, 2]
    publish(other, weights=b"further")
    with pytest.raises(ModelConflictError):
        one.change_tunings(KEY, manifest, lambda known: known)


def test_the_local_copy_makes_room_by_what_is_not_loaded(connect):
    one, other = connect("one"), connect("other", max_bytes=2100)
    names = ["org/a", "org/b", "org/c"]
    keys = [model_key(name, "sentence_transformers") for name in names]
    for name in names:
        publish(one, name, bytes(1000))
    one.list_model(keys[0], ModelRef(name="org/a"))
    for key in keys:
        other.obtain(key)
    assert {folder.name for folder in other.models.iterdir()} == {keys[0], keys[2]}
    assert len(other.entries()) == 3


class Server:
    """A registry with a fake engine of its own, on a repository."""

    def __init__(self, repository: ObjectStorageRepository, **changes) -> None:
        self.repository, self.engine, self.export = repository, FakeEngine(), FakeExport()
        self.registry = make_registry(repository.root, self.engine, self.export, repository=repository, **changes)

    async def __aenter__(self):
        await self.engine.start()
        await self.registry.start()
        return self

    async def __aexit__(self, *_):
        await self.registry.close()
        await self.engine.close()

    async def until(self, is_loaded: bool) -> None:
        async with asyncio.timeout(60):
            while ([one.state for one in self.registry.statuses()] == ["READY"]) is not is_loaded:
                await asyncio.to_thread(self.repository.sync)
                await self.registry.refresh()
                await asyncio.sleep(0.05)


async def test_servers_convert_a_model_once_and_load_and_unload_it_together(connect):
    ref = ModelRef(name="org/model")
    async with Server(connect("one")) as one, Server(connect("other")) as other:
        await asyncio.gather(one.registry.load(ref), other.registry.load(ref))
        assert len(one.export.runs + other.export.runs) == 1
        await one.registry.unload("org/model")
        await other.until(False)
        await other.registry.load(ref)
        await one.until(True)
        await one.registry.delete("org/model")
        await other.until(False)
        assert await other.registry.repository_statuses() == []
        assert len(one.export.runs + other.export.runs) == 1


async def test_the_local_copy_keeps_what_a_request_has_loaded(connect):
    """Such a model is in no list; a worker that starts again opens its files."""
    names = ("org/a", "org/b")
    other = connect("other", max_bytes=1)
    async with Server(connect("one")) as one, Server(other, memory=MemoryPolicy(on_demand=True)) as second:
        for name in names:
            await one.registry.load(ModelRef(name=name))
            await one.registry.unload(name)
        other.sync()
        for name in names:
            await second.registry.load_on_demand(name, None, None)
        assert read_desired(other.root) == ()
        for name in names:
            other.check(other.find(model_key(name, "sentence_transformers")))


async def test_a_model_that_cannot_be_uploaded_is_an_error_that_says_so_and_is_not_loaded(connect, proxy):
    async with Server(connect("one")) as one:
        proxy.is_down = True
        with pytest.raises(StorageUnavailableError):
            await one.registry.load(ModelRef(name="org/model"))
        assert one.export.runs == []
        proxy.is_down = False
        await one.registry.load(ModelRef(name="org/model"))


def test_a_custom_source_of_one_server_is_there_for_all(connect):
    one, other = connect("one"), connect("other")
    with one.staging() as folder:
        (folder / "source" / "files").mkdir(parents=True)
        (folder / "source" / "files" / "model.safetensors").write_bytes(b"weights")
        source = describe_source(
            folder / "source", name="mine", library="timm", pretrained=None, created_at="2026-11-30T00:00:00Z"
        )
        key = model_key("mine", "timm")
        one.publish_custom(folder / "source", key)
    other.sync()
    assert list(other.custom.entries()) == [(key, source)]
    assert other.obtain(key) is None
    other.claim_making(key)()
    assert other.custom.find(key) == source
    assert (other.custom.files_of(key) / "model.safetensors").read_bytes() == b"weights"
    with pytest.raises(ModelConflictError):
        other.publish_custom(other.custom.folder / key, key)
    other.delete(key)
    one.sync()
    assert list(one.custom.folder.iterdir()) == []


@pytest.mark.parametrize("repository", ["s3:///x", "http://bucket/x", "s3://user:secret@bucket/x"])
def test_another_url_is_refused_without_telling_it(repository):
    with pytest.raises(SettingsError) as refused:
        ObjectStore(repository)
    assert "secret" not in refused.value.message


def test_a_bulk_job_runs_a_model_of_object_storage(url, connect, tmp_path, monkeypatch):
    monkeypatch.setenv("INGRAIN_REPOSITORY_CACHE", str(tmp_path / "cache"))
    publish_models(connect("server"))
    model = LocalModel(Wanted(model=TEXT_MODEL), repository=url)
    try:
        np.testing.assert_allclose(model.embed(["w1 w2"]).rows, expected_vectors(["w1 w2"]), atol=1e-6)
    finally:
        model.close()
