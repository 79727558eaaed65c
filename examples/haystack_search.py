"""Search with Haystack: its OpenAI embedders against Ingrain, in a pipeline with its in-memory store.

pip install haystack-ai
python examples/haystack_search.py
"""

import os

from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

URL = os.environ.get("INGRAIN_INFERENCE_URL", "http://127.0.0.1:8686")
MODEL = os.environ.get("INGRAIN_MODEL", "all-MiniLM-L6-v2")

server = {
    "api_key": Secret.from_token(os.environ.get("INGRAIN_API_KEY", "none")),
    "api_base_url": f"{URL}/v1",
    "model": MODEL,
}

documents = [
    Document(content="Bread rises because yeast turns sugar into gas."),
    Document(content="The midnight train to Lisbon leaves from platform four."),
    Document(content="A vaccine teaches the immune system what to look for."),
]
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
store.write_documents(OpenAIDocumentEmbedder(**server, progress_bar=False).run(documents)["documents"])

search = Pipeline()
search.add_component("embedder", OpenAITextEmbedder(**server))
search.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
search.connect("embedder.embedding", "retriever.query_embedding")
for document in search.run({"embedder": {"text": "How do I get to Portugal by rail?"}})["retriever"]["documents"]:
    print(f"{document.score:.3f}  {document.content}")
