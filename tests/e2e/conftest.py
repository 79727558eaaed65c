import shutil
import sys
from pathlib import Path

import pytest

from made_once import made_once
from processes import MINILM, place_minilm, serve
from search_models import flag_of_models, place_search_models
from tiny_models import build_family
from warm_exports import warm_exports

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


@pytest.fixture(scope="session")
def warm(request, tmp_path_factory):
    """Variables for servers and commands whose exports shall start at once, as these tests ask nothing of the start."""
    if request.config.getoption("--part") == "alone":
        yield {}  # it hardly converts
        return
    with warm_exports(tmp_path_factory.mktemp("warm")) as variables:
        yield variables


@pytest.fixture(scope="session")
def local_models(tmp_path_factory):
    """A directory of local models that holds the real all-MiniLM-L6-v2."""
    return place_minilm(tmp_path_factory.mktemp("local-models"))


@pytest.fixture(scope="session")
def stored(local_models, warm, tmp_path_factory):
    """A folder whose ``repository`` holds the real model, converted once for all processes of the test run."""

    def convert(folder):
        with serve(folder, f"--local-models-dir={local_models}", f"--models={MINILM}", **warm) as server:
            server.wait_until_ready(900)

    return made_once(tmp_path_factory, "stored-minilm", convert)


@pytest.fixture(scope="session")
def server(stored, local_models, warm, tmp_path_factory):
    """A server on the embedded Triton with the real model, shared by tests that do it no harm."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(stored / "repository", folder / "repository")
    with serve(folder, f"--local-models-dir={local_models}", f"--models={MINILM}", **warm) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def ready_repository(stored, tmp_path):
    """A folder of one's own whose ``repository`` has the real model already published."""
    shutil.copytree(stored / "repository", tmp_path / "repository")
    return tmp_path


@pytest.fixture(scope="session")
def small_models(tmp_path_factory):
    """A directory of local models: a small BERT, which is converted in a moment, under the real one's name."""
    folder = tmp_path_factory.mktemp("small-models")
    build_family("BERT", folder / MINILM)
    return folder


@pytest.fixture(scope="session")
def search_models(stored, warm, tmp_path_factory):
    """A folder with one model of each kind, as ``models`` and converted in a ``repository``."""

    def convert(folder):
        models = place_search_models(folder / "models")
        shutil.copytree(stored / "repository", folder / "repository")
        with serve(folder, f"--local-models-dir={models}", flag_of_models(), **warm) as server:
            server.wait_until_ready(900)

    return made_once(tmp_path_factory, "search-models", convert)


@pytest.fixture(scope="session")
def source_model(local_models):
    """The source library's own model, the truth of every vector."""
    import torch

    from ingrain.export.process import torchvision_shim

    torch.set_num_threads(1)
    torchvision_shim.install()
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(local_models / MINILM), device="cpu")
