"""OpenAI's API, as far as embeddings go."""
