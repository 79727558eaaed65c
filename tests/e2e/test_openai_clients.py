"""The libraries that speak OpenAI's dialect, unmodified, against a real server with the real model."""

import asyncio

import httpx
import numpy as np
import openai
import pytest

from example_scripts import EXAMPLES, run_example
from processes import MINILM
from texts import sentences

pytestmark = pytest.mark.slow

TEXTS = ["A cat sleeps on the sofa.", "", "Der Zug nach Lissabon fährt um Mitternacht.", "stocks " * 400]
TRAIN = "The midnight train to Lisbon leaves from platform four."


@pytest.fixture(scope="module")
def truth(source_model):
    return source_model.encode(TEXTS)


def url(server):
    return f"{server.inference}/v1"


def vectors(answer):
    return np.array([item.embedding for item in answer.data], np.float32)


def test_the_sync_client_gets_the_vectors_of_encode(server, source_model, truth):
    """By its default, which is base64; with usage as the source's tokenizer counts it."""
    with openai.OpenAI(base_url=url(server), api_key="any") as client:
        answer = client.embeddings.create(model=MINILM, input=TEXTS)
        cut = client.embeddings.create(model=MINILM, input=TEXTS, dimensions=64)
    assert np.abs(vectors(answer) - truth).max() < 1e-4
    tokens = sum(int(source_model.preprocess([text])["attention_mask"].sum()) for text in TEXTS)
    assert answer.usage.prompt_tokens == tokens
    half = truth[:, :64] / np.linalg.norm(truth[:, :64], axis=1, keepdims=True)
    assert np.abs(vectors(cut) - half).max() < 1e-4


async def test_many_requests_of_the_async_client_at_once(server, source_model):
    texts = sentences()[:200]
    async with openai.AsyncOpenAI(base_url=url(server), api_key="any") as client:
        create = client.embeddings.create
        answers = await asyncio.gather(*(create(model=MINILM, input=texts[n : n + 2]) for n in range(0, 200, 2)))
    served = np.concatenate([vectors(answer) for answer in answers])
    assert np.abs(served - source_model.encode(texts)).max() < 1e-4


def test_token_ids_of_the_source_s_tokenizer_are_their_text(server, source_model, truth):
    """As transformers' tokenizers give them, special tokens around them."""
    rows, own = source_model.tokenizer(TEXTS)["input_ids"], {"token_encoding": "own"}
    with openai.OpenAI(base_url=url(server), api_key="any") as client:
        answer = client.embeddings.create(model=MINILM, input=rows, extra_body=own)
        with pytest.raises(openai.BadRequestError, match="0 to 30521"):
            client.embeddings.create(model=MINILM, input=[[100_264]], extra_body=own)
    assert np.abs(vectors(answer) - truth).max() < 1e-4


async def test_langchain(server, truth):
    from langchain_openai import OpenAIEmbeddings

    async with httpx.AsyncClient() as http:  # ours to close; the library leaves its own open
        embeddings = OpenAIEmbeddings(
            model=MINILM,
            base_url=url(server),
            api_key="any",
            check_embedding_ctx_length=False,
            chunk_size=3,
            http_async_client=http,
        )
        assert np.abs(np.array(embeddings.embed_documents(TEXTS)) - truth).max() < 1e-4
        assert np.abs(np.array(await embeddings.aembed_query(TEXTS[0])) - truth[0]).max() < 1e-4


async def test_llama_index(server, truth):
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    async with httpx.AsyncClient() as http:  # ours to close; the library leaves its own open
        embedding = OpenAILikeEmbedding(
            model_name=MINILM, api_base=url(server), embed_batch_size=3, async_http_client=http
        )
        texts = [TEXTS[0], TEXTS[2]]
        assert np.abs(np.array(embedding.get_text_embedding_batch(texts)) - truth[[0, 2]]).max() < 1e-4
        assert np.abs(np.array(await embedding.aget_query_embedding(TEXTS[0])) - truth[0]).max() < 1e-4


def test_haystack(server, truth, monkeypatch):
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack import Document
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret

    settings = {"api_key": Secret.from_token("any"), "api_base_url": url(server), "model": MINILM}
    documents = [Document(content=TEXTS[0]), Document(content=TEXTS[2])]
    done = OpenAIDocumentEmbedder(**settings, progress_bar=False).run(documents)
    assert np.abs(np.array([document.embedding for document in done["documents"]]) - truth[[0, 2]]).max() < 1e-4
    assert done["meta"]["usage"]["total_tokens"] > 0
    assert np.abs(np.array(OpenAITextEmbedder(**settings).run(TEXTS[0])["embedding"]) - truth[0]).max() < 1e-4


@pytest.mark.parametrize("name", ["langchain_search.py", "llama_index_search.py", "haystack_search.py"])
def test_the_examples_find_the_train(server, name):
    lines = run_example(name, url=server.inference, model=MINILM)
    assert len(lines) == 3
    assert lines[0].endswith(TRAIN)
    assert float(lines[0].split()[0]) > float(lines[1].split()[0])


def test_the_example_of_openai_s_client(server):
    lines = run_example("openai_client.py", url=server.inference, model=MINILM)
    assert lines[0] == f"models: ['{MINILM}']"
    assert lines[1].startswith("384 dimensions, ")
    assert float(lines[2].split()[-1]) > float(lines[3].split()[-1]) + 0.3
    assert lines[4].startswith("256 dimensions in 32 bytes")
    assert lines[5].startswith("refused: ")


def test_no_example_is_left_out_of_the_tests():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        *("openai_client.py", "langchain_search.py", "llama_index_search.py", "haystack_search.py"),
        "text_image_search.py",  # in test_digits_clip.py
        "hybrid_search.py",  # in test_search.py
    }
