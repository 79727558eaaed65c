"""What the first generation of clients called the types of responses."""

from __future__ import annotations

from ingrain.api.metrics import BatchStat, DurationStat, MetricsAnswer, ModelStat
from ingrain.api.types import (
    EmbeddingSizeAnswer,
    LabelsAnswer,
    LoadedModel,
    LoadedModelsAnswer,
    MessageAnswer,
    RepositoryModel,
    RepositoryModelsAnswer,
)
from ingrain.client.answers import BothEmbeddings, Embeddings, Probabilities

EmbeddingResponse = InferenceResponse = BothEmbeddings
TextEmbeddingResponse = TextInferenceResponse = Embeddings
ImageEmbeddingResponse = ImageInferenceResponse = Embeddings
ImageClassificationResponse = Probabilities
LoadedModelResponse = LoadedModelsAnswer
RepositoryModelResponse = RepositoryModelsAnswer
GenericMessageResponse = MessageAnswer
BatchStats, InferenceStats, ModelStats = BatchStat, DurationStat, ModelStat
MetricsResponse = MetricsAnswer
ModelEmbeddingDimsResponse = EmbeddingSizeAnswer
ModelClassificationLabelsResponse = LabelsAnswer

__all__ = [
    "BatchStats",
    "EmbeddingResponse",
    "GenericMessageResponse",
    "ImageClassificationResponse",
    "ImageEmbeddingResponse",
    "ImageInferenceResponse",
    "InferenceResponse",
    "InferenceStats",
    "LoadedModel",
    "LoadedModelResponse",
    "MetricsResponse",
    "ModelClassificationLabelsResponse",
    "ModelEmbeddingDimsResponse",
    "ModelStats",
    "RepositoryModel",
    "RepositoryModelResponse",
    "TextEmbeddingResponse",
    "TextInferenceResponse",
]
