"""Jobs and map_batches on a real Ray of this machine."""

import os
import signal
import threading

import numpy as np
import orjson
import psutil
import pyarrow.dataset
import pytest

from bulk_repository import TEXT_MODEL, expected_vectors, numbered, write_repository
from ingrain.bulk.job import Options, open_job
from ingrain.bulk.on_ray import LOCAL, Actors, connected, run_on_ray
from ingrain.bulk.opened import Place
from ingrain.bulk.ray import Embedder
from ingrain.bulk.wanted import Wanted
from ingrain.errors import SettingsError

# Ray is 79 MB and starts half a dozen servers, and takes longer for that than all other tests of bulk jobs together.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves files open
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
pytest.importorskip("ray", reason="Ray is not installed; the extra `ray` brings it")


@pytest.fixture(scope="module")
def cluster():
    with connected(LOCAL):
        yield


def makers() -> list[psutil.Process]:
    """Return the actors' processes."""
    below = psutil.Process().children(recursive=True)
    return [one for one in below if any("_Maker" in word for word in one.cmdline())]


def test_parts_of_a_killed_actor_are_made_again(cluster, tmp_path):
    texts = numbered(400)
    given = tmp_path / "texts.jsonl"
    given.write_bytes(b"".join(orjson.dumps({"id": n, "text": text}) + b"\n" for n, text in enumerate(texts)))
    repository = write_repository(tmp_path / "slow", iterations=300)
    job = open_job([str(given)], str(tmp_path / "out"), Options(wanted=Wanted(model=TEXT_MODEL), rows_a_part=20))
    rows, has_killed = [], threading.Event()

    def tell(more: int) -> None:
        rows.append(more)
        if not has_killed.is_set():
            has_killed.set()
            os.kill(makers()[0].pid, signal.SIGKILL)

    run_on_ray(job, Place(repository=str(repository)), Actors(count=2), tell)
    assert has_killed.is_set()
    assert sum(rows) == len(texts)
    table = pyarrow.dataset.dataset(str(tmp_path / "out"), format="parquet").to_table()
    assert table["id"].to_pylist() == list(range(len(texts)))
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), expected_vectors(texts), atol=1e-6)


def test_an_error_of_the_model_ends_the_job_with_its_words(cluster, tmp_path, repository):
    (tmp_path / "a.txt").write_text("w1\n")
    job = open_job([str(tmp_path / "a.txt")], str(tmp_path / "out"), Options(wanted=Wanted(model="org/other")))
    with pytest.raises(Exception, match="'org/other' is not in the repository"):
        run_on_ray(job, Place(repository=str(repository)), Actors(), lambda _: None)
    with pytest.raises(SettingsError, match="no room for an actor with 999 CPUs"):
        run_on_ray(job, Place(repository=str(repository)), Actors(cpus=999), lambda _: None)


@pytest.mark.parametrize("batch_format", ["numpy", "pyarrow", "pandas"])
def test_map_batches_adds_the_vectors(cluster, repository, batch_format):
    import ray

    texts = numbered(300)
    data = ray.data.from_items([{"id": number, "text": text} for number, text in enumerate(texts)])
    options = {"model": TEXT_MODEL, "repository": str(repository), "output_column": "v"}
    done = data.map_batches(
        Embedder,
        fn_constructor_kwargs=options,
        batch_format=batch_format,
        batch_size=100,
        num_cpus=1,
        concurrency=1,
    )
    rows = sorted(done.take_all(), key=lambda row: row["id"])
    assert [row["text"] for row in rows] == texts
    np.testing.assert_allclose(np.stack([np.asarray(row["v"]) for row in rows]), expected_vectors(texts), atol=1e-6)
