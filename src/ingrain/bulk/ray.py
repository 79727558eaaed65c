"""A class for ``map_batches`` of Ray Data that adds a column of vectors."""

from __future__ import annotations

from typing import Any

from ingrain.bulk.columns import embed_values, values_of, with_rows
from ingrain.bulk.opened import Place, open_bulk_model, wanted_of
from ingrain.cores import usable_cores


class Embedder:
    """Embeds a column of texts or images; each actor holds the model once.

    ::

        import ray
        from ingrain.bulk.ray import Embedder

        texts = ray.data.read_parquet("s3://bucket/texts/")
        vectors = texts.map_batches(
            Embedder,
            fn_constructor_kwargs={"model": "all-MiniLM-L6-v2", "repository": "/models"},
            batch_size=4096,
            num_cpus=4,
            concurrency=8,
        )
        vectors.write_parquet("s3://bucket/vectors/")

    Batches may be dicts of NumPy arrays, pandas or Arrow (``batch_format``); all other columns are kept. A missing
    value has a missing vector.

    Args:
        model: Name of the model.
        column: Column of the texts or images: URLs, data URIs, base64, or bytes of files.
        output_column: Column of the vectors; replaced if there is one.
        url: Inference plane of a service that computes, such as ``http://ingrain:8686``; None to run the model in the
            actor, out of the repository.
        api_key: Key of the service; None for INGRAIN_API_KEY.
        repository: Folder of the model repository on every node; None for INGRAIN_REPOSITORY.
        threads: Cores that the model uses; None for the actor's ``num_cpus``.
        on_gpu: True to run on the GPU; None for whether the actor has one (``num_gpus``).
        options: Attributes of ``ingrain.bulk.wanted.Wanted``: ``items``, ``output``, ``normalize``, ``dimensions``,
            ``input_type``, ``prompt``, ...

    Raises:
        IngrainError: The model cannot be opened, or an option is invalid; from a call, an item is invalid.
    """

    def __init__(
        self,
        model: str,
        *,
        column: str = "text",
        output_column: str = "embedding",
        url: str | None = None,
        api_key: str | None = None,
        repository: str | None = None,
        threads: int | None = None,
        on_gpu: bool | None = None,
        **options: Any,
    ) -> None:
        self._wanted = wanted_of(model, options)
        self._column, self._output_column = column, output_column
        cpus, gpus = _own_resources()
        place = Place(
            url=url,
            api_key=api_key,
            repository=repository,
            threads=threads or cpus,
            on_gpu=gpus > 0 if on_gpu is None else on_gpu,
        )
        self._model = open_bulk_model(self._wanted, place)

    def __call__(self, batch: Any) -> Any:
        """Return the batch with the column of vectors."""
        rows = embed_values(self._model.embed, self._wanted, values_of(batch, self._column), self._column)
        return with_rows(batch, self._output_column, rows)


def _own_resources() -> tuple[int, float]:
    """Return the cores and GPUs that Ray has assigned to this actor; outside Ray, all cores."""
    try:
        import ray
    except ImportError:
        return usable_cores(), 0.0
    if not ray.is_initialized():
        return usable_cores(), 0.0
    found = ray.get_runtime_context().get_assigned_resources()
    return max(1, int(found.get("CPU", 1))), float(found.get("GPU", 0))
