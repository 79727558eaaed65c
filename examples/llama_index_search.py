"""Search with LlamaIndex: its OpenAI-like embedding class against Ingrain.

pip install llama-index-core llama-index-embeddings-openai-like
python examples/llama_index_search.py
"""

import os

from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

URL = os.environ.get("INGRAIN_INFERENCE_URL", "http://127.0.0.1:8686")
MODEL = os.environ.get("INGRAIN_MODEL", "all-MiniLM-L6-v2")

embedding = OpenAILikeEmbedding(
    model_name=MODEL,
    api_base=f"{URL}/v1",
    api_key=os.environ.get("INGRAIN_API_KEY", "none"),
    embed_batch_size=256,
)

documents = [
    Document(text="Bread rises because yeast turns sugar into gas."),
    Document(text="The midnight train to Lisbon leaves from platform four."),
    Document(text="A vaccine teaches the immune system what to look for."),
]
index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
for found in index.as_retriever(similarity_top_k=3).retrieve("How do I get to Portugal by rail?"):
    print(f"{found.score:.3f}  {found.text}")
