"""The model family of sentence-transformers."""
