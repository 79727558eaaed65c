"""The Python client of both planes: ``Client`` and ``AsyncClient``, and what their methods return."""

from ingrain.client.aio.client import AsyncClient
from ingrain.client.aio.model import AsyncModel
from ingrain.client.answers import BothEmbeddings, Embeddings, Probabilities, ZeroShotProbabilities
from ingrain.client.first_generation import PyCURLEngine
from ingrain.client.retry import RetryPolicy
from ingrain.client.sparse import SparseEmbeddings, SparseVector
from ingrain.client.sync.client import Client
from ingrain.client.sync.model import Model
from ingrain.client.text_outputs import TextEmbeddings
from ingrain.client.token_vectors import MultiVectors

__all__ = [
    "AsyncClient",
    "AsyncModel",
    "BothEmbeddings",
    "Client",
    "Embeddings",
    "Model",
    "MultiVectors",
    "Probabilities",
    "PyCURLEngine",
    "RetryPolicy",
    "SparseEmbeddings",
    "SparseVector",
    "TextEmbeddings",
    "ZeroShotProbabilities",
]
