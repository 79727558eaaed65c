"""Pictures in every form through both clients, against real planes in this process."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import ingrain
from client_api import Api
from images import encode, photographs, scene
from ingrain.settings import Settings
from picture_server import PictureServer, answer
from planes import LABELS, running_planes
from wire_tap import WireTap

SCENE = scene(40, 25)
PNG = encode(SCENE, "PNG")


async def test_every_form_of_a_picture_gives_the_same_vector(kind, tmp_path):
    """Path, text of a path, bytes, Pillow image, array, base64, data URI and URL."""
    file = tmp_path / "a picture.PNG"
    file.write_bytes(PNG)
    text = base64.b64encode(PNG).decode()
    async with PictureServer({"/a.png": answer(PNG)}) as host:
        settings = Settings(fetch_allow=(f"127.0.0.1:{host.port}",))
        async with running_planes(tmp_path / "root", settings) as planes:
            await planes.load("clip", "open_clip")
            api = Api(kind, str(planes.inference.base_url), return_numpy=True)
            forms = [file, str(file), PNG, SCENE, np.asarray(SCENE), text, f"data:image/png;base64,{text}"]
            together = await api.embed_image("clip", [*forms, host.url("/a.png")])
            apart = [(await api.embed_image("clip", form)).embeddings for form in forms]
            headers = {"Authorization": "Bearer of-the-host"}
            await api.embed_image("clip", host.url("/a.png"), image_download_headers=headers)
            await api.close()
    assert together.embeddings.shape[0] == 8
    assert (together.embeddings == together.embeddings[0]).all()
    assert all(np.array_equal(one, together.embeddings[:1]) for one in apart)
    assert [hit.headers.get("authorization") for hit in host.hits] == [None, "Bearer of-the-host"]


async def test_a_pillow_image_of_any_mode_is_what_its_file_would_be(api):
    """The model converts to RGB itself, so the mode must survive; what no file holds is refused by its number."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"):
        image = SCENE.convert("L").convert("I").convert("I;16") if mode == "I;16" else SCENE.convert(mode)
        file = encode(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
        ours = await api.embed_image("clip", image, return_numpy=True)
        np.testing.assert_array_equal(ours.embeddings, (await api.embed_image("clip", file)).numpy())
    with pytest.raises(ingrain.ImageError, match=r"'HSV'.*convert") as raised:
        await api.embed_image("clip", [SCENE, SCENE.convert("HSV")])
    assert raised.value.param == "image[1]"


async def test_an_array_of_four_axes_is_several_pictures(api):
    pictures = np.stack([np.asarray(scene(30, 20, seed=n)) for n in range(5)])
    rows = (await api.embed_image("clip", pictures, return_numpy=True)).embeddings
    one = (await api.embed_image("clip", pictures[3], return_numpy=True)).embeddings
    assert len(rows) == 5
    np.testing.assert_array_equal(rows[3], one[0])


@pytest.mark.both_clients
async def test_many_pictures_come_back_in_order_in_several_requests(api, tap):
    pictures = [encode(scene(20 + n, 30, seed=n), "PNG") for n in range(40)]
    together = await api.embed_image("clip", iter(pictures), return_numpy=True)
    assert tap.count(b"POST /embed_image") == 3
    apart = [(await api.embed_image("clip", picture, return_numpy=True)).embeddings[0] for picture in pictures[::7]]
    np.testing.assert_array_equal(together.embeddings[::7], apart)


async def test_large_pictures_travel_in_requests_of_bounded_size(api, tap):
    """Seven bitmaps of 3 MB are not one request, though sixteen small pictures are."""
    large = encode(scene(1000, 1000), "BMP")
    await api.embed_image("clip", [large] * 7)
    assert tap.count(b"POST /embed_image") == 4


@pytest.mark.both_clients
async def test_texts_and_pictures_of_one_call(api):
    both = await api.embed("clip", ["red", "green"], [PNG, SCENE], return_numpy=True)
    np.testing.assert_array_equal(both["textEmbeddings"], (await api.embed_text("clip", ["red", "green"])).numpy())
    np.testing.assert_array_equal(both.image_embeddings, (await api.embed_image("clip", [PNG, PNG])).numpy())
    assert both.processing_time_ms > 0
    only = await api.embed("clip", image=PNG)
    assert only.text_embeddings is None
    assert len(only["imageEmbeddings"]) == 1


async def test_classification_by_the_models_labels_and_by_ones_own(api):
    model = await api.load_model("net", "timm")
    answer = await model.classify_image([PNG] * 20)
    assert np.shape(answer["probabilities"]) == (20, len(LABELS))
    assert np.sum(answer.probabilities, axis=1) == pytest.approx(1, abs=1e-5)
    clip = await api.load_clip_model("clip")
    chosen = await clip.classify_image_zero_shot(PNG, ["red", "green", "blue"], templates=["w1 {}", "{}"])
    assert chosen["labels"] == ["red", "green", "blue"]
    assert np.sum(chosen.probabilities) == pytest.approx(1, abs=1e-5)
    raw = await api.classify_image_zero_shot("clip", PNG, ["red", "green"], return_numpy=True)
    assert raw.probabilities.dtype == np.float32


@pytest.mark.parametrize(
    ("picture", "what"),
    [
        ("missing.png", "cannot be read"),
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4, 5), np.uint8), "1 to 4 channels"),
        (np.zeros((0, 4, 3), np.uint8), "no picture"),
        (17, "int is no picture"),
        (b"", "empty"),
        ("no base64!", "base64"),
    ],
)
async def test_what_is_no_picture_is_named_by_the_callers_number(api, picture, what):
    with pytest.raises(ingrain.ImageError, match=what) as raised:
        await api.embed_image("clip", [PNG] * 20 + [picture])
    assert raised.value.param == "image[20]"
    assert "image[20]" in raised.value.message


@pytest.mark.parametrize("name", ["000123", "picture", "photo.v2", "a picture.JFIF", "no suffix/deep"])
async def test_a_string_is_a_path_where_there_is_such_a_file(api, tmp_path, monkeypatch, name):
    """Whatever its suffix, or without one; what is no file, no URL and no base64 stays an error of the picture."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PNG)
    truth = (await api.embed_image("clip", PNG)).embeddings
    for form in (name, str(path)):
        assert (await api.embed_image("clip", form)).embeddings == truth
    with pytest.raises(ingrain.ImageError):
        await api.embed_image("clip", f"{name}!")
    with pytest.raises(ingrain.RequestError):
        await api.embed_image("clip", f"file://{path}")


async def test_bytes_and_files_in_every_shape_give_the_same_vector(api, tmp_path):
    """What was written to a BytesIO is read from its beginning; files stay open."""
    (tmp_path / "p").write_bytes(PNG)
    written = BytesIO()
    written.write(PNG)
    with (tmp_path / "p").open("rb") as file:
        forms = [PNG, bytearray(PNG), memoryview(PNG), BytesIO(PNG), written, file]
        together = (await api.embed_image("clip", forms, return_numpy=True)).embeddings
        for form in forms:
            apart = await api.embed_image("clip", form, return_numpy=True)
            np.testing.assert_array_equal(apart.embeddings, together[:1])
        assert not file.closed
    assert (together == together[0]).all()
    with (tmp_path / "p").open("r", encoding="latin-1") as file, pytest.raises(ingrain.ImageError, match="'rb'"):
        await api.embed_image("clip", [PNG, file])


async def test_white_space_around_a_picture_that_is_text_changes_nothing(connect, planes):
    """Of base64 and data URIs, from this client and from any other."""
    text = base64.b64encode(PNG).decode()
    truth = (await connect().embed_image("clip", PNG)).embeddings
    for form in (f"  {text}\n", f"\n data:image/png;base64,{text} ", f"\tDATA:image/png;base64,{text}"):
        assert (await connect().embed_image("clip", form)).embeddings == truth
        answer = await planes.inference.post("/embed_image", json={"name": "clip", "image": form})
        assert answer.json()["embeddings"] == truth


async def test_shrunk_pictures_are_smaller_and_give_the_very_same_vector(api, tap):
    """Real photographs of every mode, and a model that resizes, then crops: not one bit may differ."""
    pictures = list(photographs().values())
    assert len(pictures) >= 20
    whole = await api.embed_image("clip", pictures, return_numpy=True)
    sent = len(tap.sent)
    shrunk = await api.embed_image("clip", pictures, shrink=True, return_numpy=True)
    assert len(tap.sent) - sent < sent / 20
    np.testing.assert_array_equal(shrunk.embeddings, whole.embeddings)
    url = await api.embed("clip", ["red"], [PNG], shrink=True)
    np.testing.assert_array_equal(url.image_embeddings, (await api.embed_image("clip", PNG)).embeddings)


@pytest.mark.both_clients
async def test_shrinking_asks_for_the_geometry_once(kind, planes):
    async with WireTap(str(planes.model.base_url)) as tap:
        api = Api(kind, str(planes.inference.base_url), tap.url)
        for _ in range(3):
            await api.embed_image("clip", PNG, shrink=True)
        with pytest.raises(ingrain.ModalityError):
            await api.embed_image("org/model", PNG, shrink=True)
        await api.close()
    assert tap.count(b"GET /model_image_geometry?name=clip") == 1


def test_pictures_can_be_opened_after_the_client_has_read_them():
    """A Pillow image of a file is the caller's; encoding it leaves it open and whole."""
    from ingrain.client.pictures import wire_pictures

    with Image.open(BytesIO(PNG)) as image:
        (text,) = wire_pictures([image], None)
        assert image.getpixel((0, 0)) == SCENE.getpixel((0, 0))
    assert np.array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(text)))), np.asarray(SCENE))
