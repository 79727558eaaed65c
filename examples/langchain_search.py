"""Search with LangChain: OpenAIEmbeddings against Ingrain, in LangChain's own vector store.

pip install langchain-openai
python examples/langchain_search.py
"""

import os

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

URL = os.environ.get("INGRAIN_INFERENCE_URL", "http://127.0.0.1:8686")
MODEL = os.environ.get("INGRAIN_MODEL", "all-MiniLM-L6-v2")

embeddings = OpenAIEmbeddings(
    model=MODEL,
    base_url=f"{URL}/v1",
    api_key=os.environ.get("INGRAIN_API_KEY", "none"),
    # Send text. By default LangChain sends OpenAI's token ids. Ingrain takes these too, but to make them tiktoken
    # first downloads a file.
    check_embedding_ctx_length=False,
)

store = InMemoryVectorStore(embeddings)
store.add_texts(
    [
        "Bread rises because yeast turns sugar into gas.",
        "The midnight train to Lisbon leaves from platform four.",
        "A vaccine teaches the immune system what to look for.",
    ]
)
for document, score in store.similarity_search_with_score("How do I get to Portugal by rail?", k=3):
    print(f"{score:.3f}  {document.page_content}")
