"""Voyage's API for reranking and for texts and images. Its other embeddings are OpenAI's, with further fields."""
