"""OpenAI's API for embeddings and models."""
