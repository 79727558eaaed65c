"""Programs for the published clients 0.0.7, 0.1.1 and 0.2.3, run unchanged: their names, modules and positions."""

import asyncio
import contextlib
import pickle
import warnings

import numpy as np
import pytest

from ingrain.api import types
from ingrain.client.call import Reply
from ingrain.client.failures import error_of_reply
from ingrain.client.requests import route_call
from planes import LABELS, WIDTH


@pytest.fixture
async def run(planes, tap):
    """Return a function that runs a program in a thread, with the addresses of both planes."""

    async def run(program):
        return await asyncio.to_thread(program, tap.url, str(planes.model.base_url).rstrip("/"))

    return run


async def test_a_program_for_0_0_7(run):
    def program(inference, model):
        import ingrain
        from ingrain.ingrain_errors import IngrainWebException

        client = ingrain.Client(inference, model, 600, 600, ["Content-Type: application/json"], "mine/1", False)
        assert [plane["message"] for plane in client.health()][1] == "The model server is running."
        loaded = client.load_sentence_transformer_model(name="org/model")
        response = loaded.infer_text(text=["red", "green"], normalize=True)
        assert len(response["embeddings"]) == 2
        assert response["processingTimeMs"] > 0
        by_client = client.infer_text("org/model", None, ["red", "green"], True, 2)
        assert by_client["embeddings"] == response["embeddings"]
        both = client.infer(name="org/model", pretrained=None, text="red", retries=1)
        assert dict(both)["textEmbeddings"] == response["embeddings"][:1]
        assert "name" in client.loaded_models()["models"][0]
        assert client.metrics()["modelStats"][0]["inferenceStats"]
        with contextlib.suppress(IngrainWebException):
            client.infer_text(name="none", text=["red"])
            raise AssertionError("no error")
        assert loaded.unload()["message"]
        assert client.load_clip_model("clip", None).pretrained is None
        assert client.unload_model("clip", None)["message"]
        client.close()

    await run(program)


async def test_a_program_for_0_1_1(run):
    def program(inference, model):
        from ingrain import Client, Model, PyCURLEngine
        from ingrain.models.request_models import LoadModelRequest
        from ingrain.models.response_models import TextInferenceResponse

        client = Client(inference_server_url=inference, model_server_url=model, return_numpy=True)
        client.load_model(name="org/model", library="sentence_transformers")
        engine = PyCURLEngine(timeout=60, connect_timeout=5, header=["Content-Type: application/json", "X-Team: a"])
        of_engine = Model(
            engine, "org/model", "sentence_transformers", inference_server_url=inference, model_server_url=model
        )
        named = Model(
            requestor=engine,
            name="org/model",
            library="sentence_transformers",
            inference_server_url=inference,
            model_server_url=model,
            return_numpy=True,
        )
        rows = client.infer_text(name="org/model", text="red")
        assert isinstance(rows, TextInferenceResponse)
        assert isinstance(rows["embeddings"], np.ndarray)
        np.testing.assert_array_equal(named.infer_text("red")["embeddings"], rows["embeddings"])
        np.testing.assert_allclose(of_engine.infer_text("red").embeddings, rows["embeddings"], atol=1e-7)
        assert named.load()["message"]
        body, status = engine.post(f"{model}/load_model", LoadModelRequest(name="net", library="timm").model_dump())
        assert (status, "message" in body) == (200, True)
        body, status = engine.get(f"{model}/model_embedding_size", params={"name": "org/model"})
        assert (status, body["embeddingSize"]) == (200, WIDTH)
        for one in (client, engine, of_engine._client, named._client):
            one.close()

    await run(program)


async def test_a_program_for_0_2_3(run, tap):
    def program(inference, model):
        import ingrain
        from ingrain.client import Client
        from ingrain.ingrain_errors import IngrainWebException, error_factory
        from ingrain.model import Model
        from ingrain.models.response_models import GenericMessageResponse, TextEmbeddingResponse
        from ingrain.pycurl_engine import PyCURLEngine
        from ingrain.utils import make_response_data_numpy

        assert ingrain.__version__.split(".") >= ["1", "0", "0"]
        client = Client(
            inference, model, timeout=600, connect_timeout=30, header=["X-Team: search"], user_agent="mine/2"
        )
        first, second = client.health()
        assert isinstance(first, GenericMessageResponse)
        assert second.message == "The model server is running."
        loaded = client.load_model("org/model", "sentence_transformers")
        assert isinstance(loaded, Model)
        answer = loaded.embed_text(["red", "green"], True, None, 3)
        assert isinstance(answer, TextEmbeddingResponse)
        assert client.embed_text("org/model", ["red", "green"], True, 4).embeddings != answer.embeddings
        assert client.model_embedding_dims("org/model", 1).embedding_size == WIDTH
        assert client.model_classification_labels("net", retries=2).labels == list(LABELS)
        assert client.embed("org/model", "red", None, True, None, None, 1).text_embeddings == answer.embeddings[:1]
        assert client.embed_text("org/model").embeddings == []
        stats = client.metrics().model_stats[0]
        assert stats.inference_stats
        engine = PyCURLEngine()
        for wrong in (lambda: client.embed_text("none", "red"), lambda: engine.get(f"{model}/none")):
            with pytest.raises(IngrainWebException) as raised:
                wrong()
            error = raised.value
            assert (error.status_code, bool(error.message and error.text and error.body)) == (404, True)
        assert "oops" in str(error_factory(500, {"detail": "oops"}))
        assert make_response_data_numpy({"embeddings": [[1.0]]})["embeddings"].shape == (1, 1)
        assert client.delete_model("org/model").message
        client.close()
        engine.close()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        await run(program)
    deprecated = {str(one.message).partition(" is of")[0] for one in warned if one.category is DeprecationWarning}
    assert deprecated == {"Client(header=[…])", "Client(user_agent=…)"}
    assert b"x-team: search" in bytes(tap.sent).lower()
    assert b"user-agent: mine/2" in bytes(tap.sent).lower()


async def test_attributes_of_clients_models_and_answers(run, tap):
    """What a program could read or set of the published clients beside their methods."""

    def program(inference, model):
        import ingrain
        from ingrain.ingrain_errors import IngrainWebException, error_factory
        from ingrain.models.request_models import ModelMetadataRequest

        client = ingrain.Client(inference, model, header=["X-Team: search"])
        loaded = client.load_model("org/model", "sentence_transformers")
        for one in (client, loaded):
            assert (one.inference_server_url, one.model_server_url, one.return_numpy) == (inference, model, False)
            one.return_numpy = True
            with contextlib.closing(one.requestor) as engine:
                named = ModelMetadataRequest(name="org/model").model_dump()
                assert engine.get(f"{model}/model_embedding_size", params=named)[0] == {"embeddingSize": WIDTH}
                assert engine.get(f"{model}/model_embedding_size?name=org/model")[0] == {"embeddingSize": WIDTH}
                assert "X-Team: search" in engine.header
        assert isinstance(client.embed_text("org/model", "red").embeddings, np.ndarray)
        assert isinstance(loaded.embed_text("red").embeddings, np.ndarray)
        answer = loaded.embed_text("red", return_numpy=False)
        assert (len(answer), dict(answer.items())) == (len(list(answer)), dict(answer))
        with pytest.raises(IngrainWebException) as raised:
            client.embed_text("none", "red")
        assert raised.value.body["error"]["requestId"] == raised.value.request_id
        made = IngrainWebException("boom", 500, {"message": "boom"})
        assert (made.text, made.status_code, made.body) == ("boom", 500, {"message": "boom"})
        copied = pickle.loads(pickle.dumps(made))
        assert (
            str(copied)
            == copied.message
            == "Error: boom. \nStatus Code: 500. \nOriginal Response Body: " + str(made.body)
        )
        assert error_factory(404, {"detail": "none"}).body == {"detail": "none"}
        with contextlib.closing(ingrain.PyCURLEngine()) as engine, pytest.raises(ingrain.ServerUnreachableError):
            engine.get("http://127.0.0.1:9/health")
        client.close()

    await run(program)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b'{"error": "boom"}', "boom"), (b'{"detail": "boom"}', "boom"), (b"boom", "The server answered 500")],
)
def test_the_reason_that_another_server_gives_is_told(body, text):
    """A proxy's or an older server's error, in its own shape."""
    call = route_call("health", types.MessageAnswer, method="GET")
    error = error_of_reply(call, Reply(status=500, headers={}, content=body))
    assert (error.text.startswith(text), error.status_code) == (True, 500)


async def test_retries_of_one_call_are_as_many_as_asked_for(run, tap):
    def program(inference, model):
        import ingrain

        with ingrain.Client(inference, model, retry=ingrain.RetryPolicy(first_pause_s=0.01)) as client:
            for retries in (0, 2):
                tap.is_down, before = True, tap.connections
                with contextlib.suppress(ingrain.ServerUnreachableError):
                    client.embed_text("org/model", "red", retries=retries)
                tried.append(tap.connections - before)

    tried = []
    await run(program)
    assert tried == [1, 3]
