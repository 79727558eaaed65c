"""The task of a timm model over HTTP: an embedder of a classifier's weights, in either words, and back."""

import pytest

PICTURE = "data:image/gif;base64,R0lGODlhAQABAPAAAP8AAAAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="


@pytest.mark.parametrize("words", [{"task": "embed"}, {"numClasses": 0}, {"task": "embed", "numClasses": 0}])
async def test_a_classifier_is_loaded_as_an_embedder_in_either_words(planes, words):
    body = {"name": "org/net", "library": "timm"}
    assert (await planes.model.post("/load_model", json=body | words)).status_code == 200
    assert planes.export.runs[-1].task == "embed"
    asked = {"name": "org/net", "image": PICTURE}
    assert (await planes.inference.post("/embed_image", json=asked)).status_code == 200
    assert (await planes.inference.post("/classify_image", json=asked)).json()["error"][
        "code"
    ] == "unsupported_modality"
    assert "already loaded" in (await planes.model.post("/load_model", json=body)).json()["message"]
    assert (await planes.model.post("/load_model", json=body | {"task": "classify"})).status_code == 200
    assert (await planes.inference.post("/classify_image", json=asked)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"library": "open_clip", "task": "embed"}, "task"),
        ({"library": "sentence_transformers", "numClasses": 0}, "numClasses"),
        ({"library": "timm", "numClasses": 10}, "numClasses"),
        ({"library": "timm", "task": "segment"}, "task"),
        ({"library": "timm", "task": "rerank"}, "task"),
        ({"library": "timm", "task": "classify", "numClasses": 0}, "task"),
    ],
)
async def test_a_task_that_means_nothing_is_400_and_names_its_field(planes, fields, param):
    answer = await planes.model.post("/load_model", json={"name": "org/net"} | fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert [ref.name for ref in planes.export.runs] == ["org/model"]
