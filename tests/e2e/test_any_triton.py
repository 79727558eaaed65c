"""The published Compose file as it stands, without containers; and a Triton that shares no folder with Ingrain.

Links stand for mounts: both sides see the host's folders at paths of their own.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from huggingface_hub import snapshot_download

from container_triton import ContainerTriton
from container_user import entrypoint_program
from hub_server import HubServer
from processes import free_port, serve
from tiny_models import build_family
from torch_process import torch_pool

pytestmark = pytest.mark.slow

COMPOSE = yaml.safe_load(Path(__file__).with_name("published-compose.yml").read_text(encoding="utf-8"))["services"]
MODELS = [f"org/model-{number}" for number in range(2)]
TEXTS = ["one text", "another text that is longer", ""]
HOME_OWNER = 1001


def build_and_embed(folder: Path) -> list[np.ndarray]:
    """Build small models, and return what the source library computes with each."""
    from sentence_transformers import SentenceTransformer

    for seed, name in enumerate(MODELS):
        build_family("BERT", folder / name, seed=seed)
    return [
        SentenceTransformer(str(folder / name), device="cpu").encode(TEXTS, normalize_embeddings=True)
        for name in MODELS
    ]


@dataclass
class Host:
    """The host of the published file: its two folders, and what else the tests need.

    Attributes:
        folder: Everything lies below it.
        truth: The source library's vectors of each model.
        hub: The hub from which the models in the cache came.
    """

    folder: Path
    truth: list[np.ndarray]
    hub: HubServer

    @property
    def repository(self) -> Path:
        return self.folder / "model_repository"

    @property
    def cache(self) -> Path:
        return self.folder / "home" / ".cache" / "huggingface"


@pytest.fixture(scope="module")
def host():
    """A host whose user's cache holds the models; Docker has just made the repository's folder."""
    folder = Path(tempfile.mkdtemp(prefix="any-triton-"))
    folder.chmod(0o755)
    with torch_pool() as pool:
        truth = pool.submit(build_and_embed, folder / "models").result()
    with HubServer() as hub:
        made = Host(folder, truth, hub)
        for name in MODELS:
            hub.add(name, folder / "models" / name)
            snapshot_download(name, cache_dir=made.cache / "hub", endpoint=hub.url)
        made.repository.mkdir(mode=0o755)
        if os.geteuid() == 0:
            for path in (made.cache, *made.cache.rglob("*")):
                os.chown(path, HOME_OWNER, HOME_OWNER, follow_symlinks=False)
        add_graph_of_the_first_generation(made.repository)
        yield made
    shutil.rmtree(folder)


def add_graph_of_the_first_generation(repository: Path) -> None:
    folder = repository / "intfloat_e5-small-v2"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"old")
    (folder / "config.pbtxt").write_text('name: "intfloat_e5-small-v2"')
    (folder / "library_name.txt").write_text("sentence_transformers")


def containers(host: Host) -> tuple[Path, Path]:
    """Make the containers' folders, with the published file's volumes; return Ingrain's and Triton's root."""
    ingrain, triton = host.folder / "ingrain", host.folder / "triton"
    targets = {}
    for service, root in (("ingrain", ingrain), ("triton", triton)):
        for volume in COMPOSE[service]["volumes"]:
            source, _, target = volume.strip().partition(":")
            source = source.replace("${HOME}", str(host.folder / "home")).replace("./", f"{host.folder}/", 1)
            targets[target.rstrip("/")] = source
            (root / target.strip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / target.strip("/")).symlink_to(source)
    # The images have links in /app to the folders that the environment names.
    (ingrain / "cache").mkdir()
    (ingrain / "repository").symlink_to(ingrain / "app" / "model_repository")
    (ingrain / "cache" / "huggingface").symlink_to(ingrain / "app" / "model_cache")
    return ingrain, triton


def variables_of(host: Host, ingrain: Path, port: int) -> dict[str, str]:
    """Return the published environment, with Triton's address here, and that of the images."""
    published = {name: str(value) for name, value in COMPOSE["ingrain"]["environment"].items()}
    assert published["TRITON_GRPC_URL"] == "triton:8001"
    return published | {
        "TRITON_GRPC_URL": f"127.0.0.1:{port}",
        "INGRAIN_REPOSITORY": str(ingrain / "repository"),
        "HF_HOME": str(ingrain / "cache" / "huggingface"),
        "HOME": str(ingrain / "cache"),
        "HF_ENDPOINT": host.hub.url,
        "INGRAIN_EXPORT_THREADS": "1",
        "INGRAIN_CACHE_BYTES": "0",  # the cache would answer without Triton
    }


def check_vectors(server, truth) -> None:
    """Compare each model's vectors with the source's; a model that is being loaded again may answer 503 at first."""
    for name, expected in zip(MODELS, truth, strict=True):
        answers = []

        def is_served(name=name, answers=answers) -> bool:
            answers.append(server.embed(TEXTS, name=name))
            return answers[-1].status_code == 200

        server.wait_until(is_served, 60)
        assert {answer.status_code for answer in answers} <= {200, 503}
        np.testing.assert_allclose(answers[-1].json()["embeddings"], expected, rtol=0, atol=1e-4)


def test_the_published_file_works_as_it_stands(host):
    """Models from the user's cache are converted, loaded and served, and again after a restart of either side."""
    program = entrypoint_program()
    if program is None:
        pytest.skip("another user cannot run this Python")
    ingrain, triton_root = containers(host)
    command = COMPOSE["triton"]["command"].split()
    assert command[:2] == ["tritonserver", "--model-repository=/models"]
    port = free_port()
    variables = variables_of(host, ingrain, port)
    (triton_folder := host.folder / "triton-files").mkdir()
    with (
        serve(ingrain, program=program, **variables) as server,  # Triton comes later
        ContainerTriton(triton_root / "models", triton_folder, port, tuple(command[2:])) as triton,
    ):
        server.wait_until_ready(60)
        log = server.log.read_text()
        assert "Triton's root is the model repository" in log
        assert "Graphs of another program in the repository are left alone: intfloat_e5-small-v2" in log
        if os.geteuid() == 0:
            assert psutil.Process(server.process.pid).uids().real == HOME_OWNER
        for name in MODELS:
            answer = server.load(name)
            assert answer.status_code == 200, answer.text
        check_vectors(server, host.truth)
        assert not host.hub.gets("model.safetensors")[len(MODELS) :]  # those that filled the cache

        triton.kill()
        server.wait_until(lambda: server.reasons() != [], 60)
        triton.start()
        server.wait_until_ready(120)
        check_vectors(server, host.truth)

        assert server.stop() == 0
        with serve(ingrain, program=program, **variables) as again:
            again.wait_until_ready(120)
            check_vectors(again, host.truth)
            assert again.embed("gone", name="intfloat/e5-small-v2").status_code == 404
    configurations = [path.read_text() for path in host.repository.glob("triton/org-*/config.pbtxt")]
    assert len(configurations) == len(MODELS)
    assert all(re.search(r"^max_batch_size: 8$", text, re.MULTILINE) for text in configurations)
    assert (host.repository / "intfloat_e5-small-v2" / "1" / "model.onnx").read_bytes() == b"old"


def test_no_folder_is_shared(host):
    """Graphs are sent: stored models are served by a Triton that sees nothing, also after a restart of either."""
    if not list(host.repository.glob("triton/org-*")):
        pytest.skip("the models are those that the test before converted")
    ours = host.folder / "alone"
    shutil.copytree(host.repository, ours / "repository", symlinks=True)
    port = free_port()
    (elsewhere := host.folder / "elsewhere").mkdir()
    (triton_folder := host.folder / "elsewhere-files").mkdir()
    variables = variables_of(host, ours, port)
    with ContainerTriton(elsewhere, triton_folder, port) as triton:
        with serve(ours, **variables) as server:
            server.wait_until_ready(120)
            assert "Triton does not see the model repository, so each graph is sent" in server.log.read_text()
            check_vectors(server, host.truth)
            triton.kill()
            server.wait_until(lambda: server.reasons() != [], 60)
            triton.start()
            server.wait_until_ready(120)
            check_vectors(server, host.truth)
        with serve(ours, **variables) as again:
            again.wait_until_ready(120)
            check_vectors(again, host.truth)
        assert list(elsewhere.iterdir()) == []


def test_a_triton_that_loads_nothing_on_demand_is_told_at_the_start(tmp_path):
    """Readiness and log say what to change, before anybody converts a model."""
    port = free_port()
    (tmp_path / "empty").mkdir()
    with (
        ContainerTriton(tmp_path / "empty", tmp_path, port, ("--model-control-mode=none",)),
        serve(tmp_path / "server", TRITON_GRPC_URL=f"127.0.0.1:{port}") as server,
    ):
        server.wait_until(lambda: any("--model-control-mode=explicit" in reason for reason in server.reasons()), 60)
        assert "--model-control-mode=explicit" in server.log.read_text()
