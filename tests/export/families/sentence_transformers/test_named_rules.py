"""Rules that sentence-transformers ties to a model's name hold for the name that the user gave, hub or local."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import named_in_process as in_process
import numpy as np
import pytest

from hub_server import HubServer
from ingrain.export.process.job import ExportJob


@pytest.fixture(scope="module")
def models(exporting: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold one T5 encoder under many names, none of which its files know."""
    folder = tmp_path_factory.mktemp("models")
    exporting.submit(in_process.build_t5, folder / "hkunlp" / "instructor-large").result()
    for name in ("hkunlp/instructor-base", "hkunlp/instructor-xl", "hkunlp/instructor-small", "org/instructor-large"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(folder / "hkunlp" / "instructor-large")
    (folder / "instructor-large").symlink_to(folder / "hkunlp" / "instructor-large")
    return folder


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("hkunlp/instructor-base", False),
        ("hkunlp/instructor-large", False),
        ("hkunlp/instructor-xl", False),
        ("hkunlp/instructor-small", True),
        ("org/instructor-large", True),
        ("instructor-large", True),
    ],
)
def test_a_prompt_counts_for_the_names_for_which_it_counts_in_the_source(
    exporting: ProcessPoolExecutor, models: Path, name: str, *, counts: bool
) -> None:
    assert exporting.submit(in_process.pools_prompt_by_name, models, name).result() == (counts, counts)


def test_an_instructor_from_the_hub_gives_the_vectors_that_the_source_gives_under_its_name(
    exporting: ProcessPoolExecutor, models: Path, tmp_path: Path
) -> None:
    """A proof of what is stored, as `ingrain verify` makes it, knows the name as well."""
    name = "hkunlp/instructor-large"
    (tmp_path / "output").mkdir()
    job = ExportJob(name=name, library="sentence_transformers", output=str(tmp_path / "output"))
    with HubServer() as hub:
        hub.add(name, models / name)
        arguments = (job, hub.url, tmp_path / "cache")
        manifest, ours = exporting.submit(in_process.export_and_prove_again, *arguments).result()
    assert manifest.text is not None
    assert not manifest.text.include_prompt
    theirs = exporting.submit(in_process.embed_by_name, models, name).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
