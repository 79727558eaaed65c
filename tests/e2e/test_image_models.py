"""Image models through a real server: timm's and sentence-transformers' own numbers (OpenCLIP's: test_digits_clip)."""

import base64
import io
import json
import os
import subprocess
import sys

import httpx
import numpy as np
import pytest
from PIL import Image

from images import photographs
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from processes import serve
from tiny_timm import build_efficientnet_lite0
from tiny_two_towers import build_clip_transformer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image_models(tmp_path_factory):
    """A directory with the real EfficientNet-Lite0 and a small CLIP of sentence-transformers."""
    folder = tmp_path_factory.mktemp("image-models")
    build_efficientnet_lite0(folder / "lite0")
    build_clip_transformer(folder / "st-clip")
    return folder


@pytest.fixture(scope="module")
def image_server(image_models, warm, tmp_path_factory):
    flags = (f"--local-models-dir={image_models}", "--models=timm:lite0,st-clip")
    with serve(tmp_path_factory.mktemp("image-server"), *flags, **warm) as server:
        server.wait_until_ready(600)
        yield server


@pytest.fixture(scope="module")
def pictures():
    """Photographs that Pillow opens as the libraries do."""
    found = photographs()
    assert len(found) >= 20
    return found


def post(server, path, **body):
    answer = httpx.post(f"{server.inference}{path}", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def encoded(pictures):
    return [base64.b64encode(data).decode() for data in pictures.values()]


def test_probabilities_of_photographs_are_timms_own(image_server, image_models, pictures):
    """Every photograph within 1e-4 of timm; the cup of coffee is espresso, Chelsea is a cat."""
    import timm
    import torch

    network = timm.create_model(f"local-dir:{image_models / 'lite0'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    served = np.array(post(image_server, "/classify_image", name="lite0", image=encoded(pictures))["probabilities"])
    with torch.inference_mode():
        for row, data in zip(served, pictures.values(), strict=True):
            pixels = transform(Image.open(io.BytesIO(data)).convert("RGB"))
            truth = network(pixels[None]).softmax(-1)[0].numpy()
            assert np.abs(row - truth).max() < 1e-4
    labels = httpx.get(f"{image_server.model}/model_classification_labels", params={"name": "lite0"}).json()["labels"]
    best = {name: labels[row.argmax()] for name, row in zip(pictures, served, strict=True)}
    assert best["coffee.png"] == "espresso"
    assert "cat" in best["chelsea.png"] or "tabby" in best["chelsea.png"]


def test_the_classifier_has_a_logit_for_each_of_imagenets_labels(image_server):
    manifest = Repository(image_server.log.parent / "repository").find(model_key("lite0", "timm")).manifest
    assert (len(manifest.labels), manifest.embedding_size) == (1000, 1000)
    assert manifest.graphs[0].outputs[0].name == "logits"


def test_both_towers_and_zero_shot_are_sentence_transformers_own(image_server, image_models, pictures):
    """A CLIP with a Dense behind both towers, over every route that takes pictures."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(image_models / "st-clip"), device="cpu")
    texts = ["a cat", "a cup of coffee on a table, seen from above", "", "日本語 🙂", "rocket " * 60]
    images = encoded(pictures)
    truth = model.encode([Image.open(io.BytesIO(data)) for data in pictures.values()], normalize_embeddings=True)
    served = post(image_server, "/embed", name="st-clip", text=texts, image=images)
    text_truth = np.concatenate([model.encode([text], normalize_embeddings=True) for text in texts])
    assert np.abs(np.array(served["textEmbeddings"]) - text_truth).max() < 1e-5
    assert np.abs(np.array(served["imageEmbeddings"]) - truth).max() < 1e-5
    alone = post(image_server, "/embed_image", name="st-clip", image=images[:3])["embeddings"]
    assert np.abs(np.array(alone) - truth[:3]).max() < 1e-5
    body = {"model": "st-clip", "input": ["a cat", f"data:image/png;base64,{images[0]}"]}
    rows = [row["embedding"] for row in post(image_server, "/v1/embeddings", **body)["data"]]
    assert np.abs(np.array(rows) - [text_truth[0], truth[0]]).max() < 1e-5
    labels = ["a cat", "coffee", "a rocket"]
    asked = {"name": "st-clip", "image": images, "labels": labels, "templates": ["{}"]}
    found = np.array(post(image_server, "/classify_image_zero_shot", **asked)["probabilities"])
    targets = np.concatenate([model.encode([label], normalize_embeddings=True) for label in labels])
    logits = model[0].model.logit_scale.exp().item() * torch.from_numpy(truth @ targets.T)
    assert np.abs(found - logits.softmax(-1).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "roles"),
    [("lite0", {"classifier"}), ("st-clip", {"text_encoder", "image_encoder"})],
)
def test_stored_image_models_are_proved_again(image_server, image_models, warm, name, roles):
    """`ingrain verify` compares every graph of a model with its source library."""
    flags = [f"--repository={image_server.log.parent / 'repository'}", f"--local-models-dir={image_models}", "--json"]
    command = [sys.executable, "-m", "ingrain", "verify", name, *flags]
    done = subprocess.run(command, env={**os.environ, **warm}, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr
    proofs = json.loads(done.stdout)["verification"]
    assert set(proofs) == roles
    assert all(proof["max_abs_diff"] < proof["tolerance"] for proof in proofs.values())
