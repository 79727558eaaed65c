"""A trained CLIP through a real server: the digits that it never saw, classified by words as OpenCLIP itself does."""

import base64
from io import BytesIO

import httpx
import numpy as np
import pytest

from digits_clip import HELD_OUT, NAMES, TEMPLATES, build_digits_clip, digit_pictures
from example_scripts import run_example
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from processes import serve
from torch_process import torch_pool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = "digits"


def ask(folder):
    """Return OpenCLIP's own zero-shot probabilities of the held-out digits, float32 [N, 10], and its scale."""
    import open_clip
    import torch
    from PIL import Image

    name = f"local-dir:{folder}"
    network, transform = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    network.eval()
    with torch.inference_mode():
        images = torch.stack([transform(Image.open(BytesIO(data))) for data in digit_pictures()[0][-HELD_OUT:]])
        images = network.encode_image(images, normalize=True)
        targets = open_clip.build_zero_shot_classifier(network, tokenizer, NAMES, TEMPLATES, device="cpu")
        scale = network.logit_scale.exp()
        return (scale * images @ targets).softmax(-1).numpy(), float(scale)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of the trained model, and OpenCLIP's own probabilities and scale."""
    folder = tmp_path_factory.mktemp("digits-models")
    with torch_pool() as pool:
        pool.submit(build_digits_clip, folder / MODEL).result()
        return folder, *pool.submit(ask, folder / MODEL).result()


@pytest.fixture(scope="module")
def digits_server(trained, warm, tmp_path_factory):
    flags = (f"--local-models-dir={trained[0]}", f"--models=open_clip:{MODEL}")
    with serve(tmp_path_factory.mktemp("digits-server"), *flags, **warm) as server:
        server.wait_until_ready(600)
        yield server


@pytest.fixture(scope="module")
def held_out():
    """PNG files of the digits that were not trained on, and what they show."""
    files, targets = digit_pictures()
    return files[-HELD_OUT:], targets[-HELD_OUT:]


def post_json(server, files):
    images = [base64.b64encode(data).decode() for data in files]
    return _post(server, json={"name": MODEL, "image": images, "labels": NAMES, "templates": TEMPLATES})


def post_files(server, files):
    uploads = [("image", (f"{number}.png", data, "image/png")) for number, data in enumerate(files)]
    return _post(server, data={"name": MODEL, "labels": NAMES, "templates": TEMPLATES}, files=uploads)


def _post(server, **body):
    answer = httpx.post(f"{server.inference}/classify_image_zero_shot", timeout=120, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["labels"] == list(NAMES)
    return np.array(answer.json()["probabilities"])


@pytest.mark.parametrize("post", [post_json, post_files], ids=["base64 in JSON", "files in a form"])
def test_held_out_digits_are_classified_as_by_open_clip(digits_server, trained, held_out, post):
    """Every prediction and so the accuracy is OpenCLIP's own, every probability within 1e-4; nine in ten are right."""
    files, targets = held_out
    truth = trained[1]
    served = post(digits_server, files)
    assert served.shape == (HELD_OUT, len(NAMES))
    assert np.abs(served - truth).max() < 1e-4
    assert (served.argmax(1) == truth.argmax(1)).all()
    accuracy = float((served.argmax(1) == targets).mean())
    assert accuracy == float((truth.argmax(1) == targets).mean())
    assert accuracy > 0.9


def test_the_scale_is_the_trained_one(digits_server, trained):
    entry = Repository(digits_server.log.parent / "repository").find(model_key(MODEL, "open_clip"))
    assert abs(entry.manifest.similarity.scale - trained[2]) < 1e-4


def test_a_digit_alone_gets_the_probabilities_that_it_gets_among_others(digits_server, trained, held_out):
    """One picture a request, by both ways of sending it."""
    for index in (0, 7, HELD_OUT - 1):
        for post in (post_json, post_files):
            served = post(digits_server, held_out[0][index : index + 1])
            assert np.abs(served - trained[1][index]).max() < 1e-4


def test_the_example_finds_pictures_by_words(digits_server, held_out, tmp_path):
    """examples/text_image_search.py ranks pictures of the digit that is asked for first."""
    for number, (data, target) in enumerate(zip(held_out[0][:80], held_out[1], strict=False)):
        (tmp_path / f"{NAMES[target]}-{number}.png").write_bytes(data)
    for name in ("seven", "zero"):
        lines = run_example(
            "text_image_search.py",
            *(str(tmp_path), f"a photo of the digit {name}."),
            url=digits_server.inference,
            model=MODEL,
        )
        assert len(lines) == 5
        assert sum(f"  {name}-" in line for line in lines) >= 4
