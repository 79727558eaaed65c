"""A small model of every family, converted once, and served by every engine: each task gives the source's numbers."""

import base64
import shutil
from contextlib import ExitStack
from io import BytesIO

import httpx
import numpy as np
import pytest

from images import encode, scene
from ingrain.engine.table import ENGINES
from processes import free_port, serve, triton_at
from tiny_clip import build_tiny_clip
from tiny_models import build_family
from tiny_sparse import build_splade
from tiny_timm import build_timm
from torch_process import torch_pool

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

TEXTS = ["a river runs to the sea", "", "coffee in Berlin", "old stone houses " * 20]
FILES = [encode(scene(64, 48), "PNG"), encode(scene(40, 70, seed=1), "JPEG"), encode(scene(33, 33, seed=2), "PNG")]
PICTURES = [base64.b64encode(data).decode() for data in FILES]
LABELS, TEMPLATES = ["a river", "coffee", "houses"], ["a photo of {}.", "{}"]


def build_and_ask(folder):
    """Build the models, and return what the source libraries compute, by task."""
    import open_clip
    import timm
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer, SparseEncoder

    build_family("BERT", folder / "bert")
    build_splade(folder / "splade")
    build_tiny_clip("CLIP, ViT", folder / "clip")
    build_timm("resnet10t", folder / "net", num_classes=3, model_config={"label_names": ["wing", "wheel", "sleeve"]})
    pictures = [Image.open(BytesIO(data)).convert("RGB") for data in FILES]
    text = SentenceTransformer(str(folder / "bert"), device="cpu").encode(TEXTS, normalize_embeddings=True)
    clip, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder / 'clip'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'clip'}")
    clip.eval()
    net = timm.create_model(f"local-dir:{folder / 'net'}", pretrained=True).eval()
    prepare_pixels = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    with torch.inference_mode():
        images = clip.encode_image(torch.stack([transform(picture) for picture in pictures]), normalize=True)
        targets = open_clip.build_zero_shot_classifier(
            clip, tokenizer, LABELS, [lambda label, one=one: one.format(label) for one in TEMPLATES], device="cpu"
        )
        return {
            "text": text,
            "sparse": SparseEncoder(str(folder / "splade"), device="cpu").encode(TEXTS).to_dense().numpy(),
            "clip text": clip.encode_text(tokenizer(TEXTS), normalize=True).numpy(),
            "image": images.numpy(),
            "zero shot": (clip.logit_scale.exp() * images @ targets).softmax(-1).numpy(),
            "classes": net(torch.stack([prepare_pixels(picture) for picture in pictures])).softmax(-1).numpy(),
        }


@pytest.fixture(scope="module")
def truth_and_repository(warm, tmp_path_factory):
    """What the source libraries compute, and a folder whose ``repository`` holds the converted models."""
    root = tmp_path_factory.mktemp("every-engine")
    with torch_pool() as pool:
        truth = pool.submit(build_and_ask, root / "models").result()
    flags = (
        f"--local-models-dir={root / 'models'}",
        "--models=bert,splade,open_clip:clip,timm:net",
        "--engine=onnxruntime",
    )
    with serve(root, *flags, **warm) as server:
        server.wait_until_ready(600)
    return truth, root


@pytest.fixture(scope="module")
def truth(truth_and_repository):
    return truth_and_repository[0]


@pytest.fixture(scope="module", params=list(ENGINES))
def server(request, truth_and_repository, tmp_path_factory):
    """A server on one of the engines."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(truth_and_repository[1] / "repository", folder / "repository")
    variables = {"INGRAIN_ENGINE": request.param}
    with ExitStack() as stack:
        if request.param == "triton":
            port = free_port()
            stack.enter_context(triton_at(folder / "repository" / "triton", port))
            variables |= {"TRITON_GRPC_URL": f"127.0.0.1:{port}", "INGRAIN_TRITON_BACKEND": "python"}
        server = stack.enter_context(serve(folder, **variables))
        server.wait_until_ready()
        yield server


def post(server, path, **body):
    answer = httpx.post(f"{server.inference}{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_texts_are_embedded(server, truth):
    for name, expected in (("bert", truth["text"]), ("clip", truth["clip text"])):
        rows = post(server, "/embed_text", name=name, text=TEXTS)["embeddings"]
        np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_texts_are_embedded_into_sparse_vectors(server, truth):
    rows = np.zeros_like(truth["sparse"])
    for row, vector in zip(rows, post(server, "/embed_sparse", name="splade", text=TEXTS)["embeddings"], strict=True):
        row[vector["indices"]] = vector["values"]
    np.testing.assert_allclose(rows, truth["sparse"], atol=1e-4)


def test_images_are_embedded(server, truth):
    rows = post(server, "/embed_image", name="clip", image=PICTURES)["embeddings"]
    np.testing.assert_allclose(rows, truth["image"], atol=1e-4)


def test_texts_and_images_are_embedded_together(server, truth):
    answer = post(server, "/embed", name="clip", text=TEXTS, image=PICTURES)
    np.testing.assert_allclose(answer["textEmbeddings"], truth["clip text"], atol=1e-4)
    np.testing.assert_allclose(answer["imageEmbeddings"], truth["image"], atol=1e-4)


def test_images_are_classified(server, truth):
    rows = post(server, "/classify_image", name="net", image=PICTURES)["probabilities"]
    np.testing.assert_allclose(rows, truth["classes"], atol=1e-4)


def test_images_are_classified_by_words(server, truth):
    body = {"name": "clip", "image": PICTURES, "labels": LABELS, "templates": TEMPLATES}
    answer = post(server, "/classify_image_zero_shot", **body)
    assert answer["labels"] == LABELS
    np.testing.assert_allclose(answer["probabilities"], truth["zero shot"], atol=1e-3)
