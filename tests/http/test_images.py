"""Images over HTTP: every way to send them, every way to get them wrong."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from images import encode, scene
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from picture_server import PictureServer
from planes import IMAGE, LABELS, WIDTH, ids_of, running_planes

PNG = encode(scene(40, 25), "PNG")
JPEG = encode(scene(30, 50, seed=2), "JPEG")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path) as planes:
        for name, library in (("org/model", "sentence_transformers"), ("clip", "open_clip"), ("net", "timm")):
            await planes.load(name, library)
        yield planes


async def vectors_of(planes, image, **fields):
    answer = await planes.inference.post("/embed_image", json={"name": "clip", "image": image, **fields})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["embeddings"], np.float32)


async def test_base64_data_uri_and_file_give_the_same_vector(planes):
    plain = await vectors_of(planes, b64(PNG))
    uri = await vectors_of(planes, [f"data:image/png;base64,{b64(PNG)}"])
    upload = await planes.inference.post("/embed_image", data={"name": "clip"}, files={"image": ("a.png", PNG)})
    np.testing.assert_array_equal(plain, uri)
    np.testing.assert_array_equal(plain, np.array(upload.json()["embeddings"], np.float32))
    assert np.linalg.norm(plain[0]) == pytest.approx(1, abs=1e-6)


async def test_many_images_come_back_in_order(planes):
    pictures = [encode(scene(20 + n, 30, seed=n), "PNG") for n in range(20)]
    together = await vectors_of(planes, [b64(picture) for picture in pictures])
    apart = np.concatenate([await vectors_of(planes, b64(picture)) for picture in pictures])
    np.testing.assert_array_equal(together, apart)
    assert len(np.unique(together[:, 0])) == 20


async def test_uploads_take_fields_and_several_files(planes):
    files = [("image", ("a", PNG)), ("image", ("b", JPEG))]
    form = {"name": "clip", "nDims": "3", "normalize": "false"}
    answer = await planes.inference.post("/embed_image", data=form, files=files)
    assert np.array(answer.json()["embeddings"]).shape == (2, 3)


async def test_text_and_images_side_by_side(planes):
    body = {"name": "clip", "text": "red", "image": [b64(PNG), b64(JPEG)]}
    answer = (await planes.inference.post("/embed", json=body)).json()
    assert np.array(answer["textEmbeddings"]).shape == (1, WIDTH)
    np.testing.assert_array_equal(
        np.array(answer["imageEmbeddings"], np.float32), await vectors_of(planes, [b64(PNG), b64(JPEG)])
    )
    only_image = (await planes.inference.post("/embed", json={"name": "clip", "image": b64(PNG)})).json()
    assert only_image["textEmbeddings"] is None


async def test_a_classifier_answers_softmax_in_the_order_of_its_labels(planes):
    answer = await planes.inference.post("/classify_image", json={"name": "net", "image": [b64(PNG), b64(JPEG)]})
    rows = np.array(answer.json()["probabilities"])
    assert rows.shape == (2, len(LABELS))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    labels = await planes.model.get("/model_classification_labels", params={"name": "net"})
    assert labels.json() == {"labels": list(LABELS)}


async def test_zero_shot_is_open_clips_recipe(planes):
    """Mean of the templates' unit vectors, unit length again, cosine, scale, softmax."""
    names, templates = ["red", "green", "blue"], ["a {}", "w1 {} w2"]
    body = {"name": "clip", "image": b64(PNG), "labels": names, "templates": templates}
    answer = (await planes.inference.post("/classify_image_zero_shot", json=body)).json()

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    texts = np.array([[fake_vector(ids_of(t.replace("{}", n)), WIDTH) for t in templates] for n in names], np.float32)
    targets = unit(unit(texts).mean(axis=1))
    image = await vectors_of(planes, b64(PNG))
    np.testing.assert_allclose(answer["probabilities"], softmax(10.0 * image @ targets.T), atol=1e-5)
    assert answer["labels"] == names


async def test_label_vectors_are_kept_between_requests(planes):
    body = {"name": "clip", "image": b64(PNG), "labels": ["red", "green"]}
    await planes.inference.post("/classify_image_zero_shot", json=body)
    before = [name for name, _ in planes.engine.batches if "text" in name]
    await planes.inference.post("/classify_image_zero_shot", json=body)
    assert [name for name, _ in planes.engine.batches if "text" in name] == before


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/embed_image", {"name": "org/model", "image": "x"}, "image"),
        ("/embed_text", {"name": "net", "text": "red"}, "text"),
        ("/classify_image", {"name": "clip", "image": "x"}, "zero_shot"),
        ("/classify_image", {"name": "org/model", "image": "x"}, "classifier"),
        ("/classify_image_zero_shot", {"name": "net", "image": "x", "labels": ["a"]}, "zero-shot"),
        ("/classify_image_zero_shot", {"name": "clip", "image": "x", "labels": []}, "labels"),
        (
            "/classify_image_zero_shot",
            {"name": "clip", "image": "x", "labels": ["a"], "templates": ["no"]},
            "templates",
        ),
        ("/embed", {"name": "clip"}, "image"),
        ("/embed_image", {"name": "clip", "image": []}, "image"),
        ("/embed_image", {"name": "clip", "image": "x", "imageDownloadHeaders": {"Host": "a"}}, "Host"),
    ],
)
async def test_what_a_model_cannot_do_is_400(planes, path, body, said):
    answer = await planes.inference.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["message"]


async def test_labels_of_a_model_without_them_is_400(planes):
    answer = await planes.model.get("/model_classification_labels", params={"name": "clip"})
    assert answer.status_code == 400


@pytest.mark.parametrize("bad", [b"", b"no picture", PNG[:200], b"%!PS-Adobe-3.0 EPSF-3.0", b"<svg></svg>"])
async def test_a_bad_image_is_400_and_named(planes, bad):
    answer = await planes.inference.post("/embed_image", json={"name": "clip", "image": [b64(PNG), b64(bad)]})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "image[1]"
    files = [("image", ("a", PNG)), ("image", ("b", bad))]
    answer = await planes.inference.post("/embed_image", data={"name": "clip"}, files=files)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "content", [b"", b"--x\r\nbroken", b"--x--\r\n", b"--x\r\nContent-Disposition: x\r\n\r\n1\r\n--x--"]
)
async def test_a_broken_form_is_400(planes, content):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await planes.inference.post("/embed_image", content=content, headers=headers)
    assert answer.status_code == 400, answer.text


async def test_a_form_without_boundary_is_400(planes):
    answer = await planes.inference.post("/embed_image", content=b"x", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400


async def test_a_url_that_the_operator_allows_is_fetched(tmp_path):
    async def picture(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)
        await writer.drain()

    async with PictureServer(replies={"/a.png": picture}) as host:
        settings = Settings(fetch_allow=(f"127.0.0.1:{host.port}",))
        async with running_planes(tmp_path, settings) as planes:
            await planes.load("clip", "open_clip")
            fetched = await vectors_of(planes, host.url("/a.png"), imageDownloadHeaders={"Referer": "http://here/"})
            np.testing.assert_array_equal(fetched, await vectors_of(planes, b64(PNG)))
        assert host.hits[0].headers["referer"] == "http://here/"


async def test_private_addresses_are_refused_by_the_route(planes):
    for url in ("http://127.0.0.1:1/a.png", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"):
        answer = await planes.inference.post("/embed_image", json={"name": "clip", "image": url})
        assert answer.status_code == 400, answer.text
        assert "root:" not in answer.text


def test_pixels_reach_the_graph_as_the_source_prepares_them():
    """The square crop of a picture that is neither square nor uniform, by Pillow's own resize."""
    pixels = ImagePreprocessor(IMAGE).prepare(PNG)
    picture = Image.open(io.BytesIO(PNG)).convert("RGB").resize((25, 16), Image.Resampling.BICUBIC)
    left = round((25 - 16) / 2)
    np.testing.assert_array_equal(pixels, np.asarray(picture.crop((left, 0, left + 16, 16))))


def test_probabilities_are_stable_for_large_scores():
    scores = np.array([[1000.0, 999.0, -1000.0]], np.float32)
    np.testing.assert_allclose(softmax(scores), [[0.731, 0.269, 0]], atol=1e-3)
    np.testing.assert_allclose(sigmoid(scores), [[1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "templates"),
    [(["x" * 1000], ["{}" * 2000]), (["x" * 150_000], ["{}"] * 100), (["a"], ["y" * 200_001 + "{}"])],
)
async def test_templates_that_would_swell_are_413_before_they_are_built(planes, labels, templates):
    body = {"name": "clip", "image": b64(PNG), "labels": labels, "templates": templates}
    answer = await planes.inference.post("/classify_image_zero_shot", json=body)
    assert answer.status_code == 413, answer.text


async def test_more_pictures_than_a_chunk_come_back_in_order(planes):
    pictures = [b64(encode(scene(17, 20, seed=n % 7), "PNG")) for n in range(150)]
    rows = await vectors_of(planes, pictures)
    for n in range(150):
        np.testing.assert_array_equal(rows[n], rows[n % 7])
    answer = await planes.inference.post("/embed_image", json={"name": "clip", "image": [*pictures, "bad"]})
    assert answer.json()["error"]["param"] == "image[150]"


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "nonsense"])
async def test_the_charset_of_a_form_cannot_break_the_answer(planes, charset):
    content = b'--b\r\nContent-Disposition: form-data; name="\\ud800"\r\n\r\n\\ud800\r\n--b--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = await planes.inference.post("/embed_image", content=content, headers=headers)
    assert answer.status_code == 400, answer.text


async def test_pictures_as_files_and_as_text_are_not_mixed(planes):
    files = {"image": ("a.png", PNG)}
    answer = await planes.inference.post("/embed_image", data={"name": "clip", "image": b64(PNG)}, files=files)
    assert answer.status_code == 400


async def test_more_files_than_allowed_is_413(tmp_path):
    async with running_planes(tmp_path, Settings(max_items=2)) as planes:
        await planes.load("clip", "open_clip")
        files = [("image", (str(n), PNG)) for n in range(3)]
        answer = await planes.inference.post("/embed_image", data={"name": "clip"}, files=files)
        assert answer.status_code == 413
        both = {"name": "clip", "text": ["red", "blue"], "image": b64(PNG)}
        assert (await planes.inference.post("/embed", json=both)).status_code == 413
