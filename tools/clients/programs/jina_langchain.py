# requirements: langchain-community==0.4.2
# dialect: Jina
# title: LangChain JinaEmbeddings
"""LangChain's class for Jina. It takes no base URL: the address is a constant of its module."""

from langchain_community.embeddings import JinaEmbeddings, jina

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"]


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def _raises(kind, call, words="") -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def _embeddings(server, **fields) -> JinaEmbeddings:
    jina.JINA_API_URL = f"{server.url}/v1/embeddings"
    return JinaEmbeddings(**{"model_name": server.dense, "jina_api_key": server.key, **fields})


def embed(server) -> None:
    _check([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embeddings(server).embed_documents(TEXTS), server.vectors(TEXTS))


def errors(server) -> None:
    _raises(RuntimeError, lambda: _embeddings(server, model_name="absent").embed_query(TEXTS[0]), "absent")
    _raises(RuntimeError, lambda: _embeddings(server, jina_api_key="wrong").embed_query(TEXTS[0]), "key")
