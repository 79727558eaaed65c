"""The Python client: receives calls, sends requests to both planes, hands on typed answers."""

from ingrain.client.aio import AsyncClient, AsyncModel
from ingrain.client.answers import BothEmbeddings, Embeddings, Probabilities, ZeroShotProbabilities
from ingrain.client.retry import RetryPolicy
from ingrain.client.sync import Client, Model

__all__ = [
    "AsyncClient",
    "AsyncModel",
    "BothEmbeddings",
    "Client",
    "Embeddings",
    "Model",
    "Probabilities",
    "RetryPolicy",
    "ZeroShotProbabilities",
]
