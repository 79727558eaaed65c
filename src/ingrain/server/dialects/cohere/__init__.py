"""Cohere's API, versions 1 and 2, for embeddings and reranking."""
