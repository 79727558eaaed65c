"""A user-defined function for Spark that embeds a column of texts or images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ingrain.bulk.columns import embed_values
from ingrain.bulk.opened import Place, open_bulk_model, wanted_of
from ingrain.bulk.wanted import Wanted
from ingrain.errors import SettingsError
from ingrain.install_hint import install_hint

_SPARK_TYPES = {
    "dense": "array<float>",
    "sparse": "struct<indices:array<int>,values:array<float>>",
    "multiVector": "array<array<float>>",
}


def embed_udf(
    model: str,
    *,
    url: str | None = None,
    api_key: str | None = None,
    repository: str | None = None,
    threads: int = 1,
    **options: Any,
) -> Any:
    """Return a ``pandas_udf`` that embeds a column.

    ::

        from ingrain.bulk.spark import embed_udf

        embed = embed_udf("all-MiniLM-L6-v2", repository="/models")
        texts.withColumn("embedding", embed("text")).write.parquet("s3a://bucket/vectors/")

    Each of an executor's Python workers opens the model once and keeps it. A null value has a null vector.

    Args:
        model: Name of the model.
        url: Inference plane of a service that computes; None to run the model in the Python workers.
        api_key: Key of the service; None for INGRAIN_API_KEY of the workers.
        repository: Folder of the model repository on every executor; None for INGRAIN_REPOSITORY.
        threads: Cores that the model uses in each Python worker, as ``spark.task.cpus`` has them.
        options: Attributes of ``ingrain.bulk.wanted.Wanted``: ``items``, ``output``, ``normalize``, ``dimensions``, ...

    Returns:
        A function of a column of texts, or of images as URLs or bytes. Its values are ``array<float>``, for sparse
        vectors ``struct<indices:array<int>,values:array<float>>``, for several vectors of a text
        ``array<array<float>>``; for other number types ``array<smallint>``.

    Raises:
        SettingsError: An option is invalid, or pyspark or pandas is missing.
    """
    try:
        import pandas
        from pyspark.sql.functions import pandas_udf
    except ImportError as error:
        raise SettingsError(f"embed_udf needs pyspark and pandas: {install_hint('spark')}.") from error
    wanted = wanted_of(model, options)
    place = Place(url=url, api_key=api_key, repository=repository, threads=threads)

    def embed(batches: Iterator[Any]) -> Iterator[Any]:
        opened = _kept_model(wanted, place)
        for batch in batches:
            rows = embed_values(opened.embed, wanted, batch.tolist(), "the function's argument")
            yield pandas.Series(rows.to_pylist(), index=batch.index, dtype=object)

    # Spark reads the kind of the function from its types, which it could not find by their names here.
    embed.__annotations__ = {"batches": Iterator[pandas.Series], "return": Iterator[pandas.Series]}
    is_float = wanted.output_dtype == "float"
    return pandas_udf(embed, _SPARK_TYPES[wanted.output] if is_float else "array<smallint>")


@lru_cache(maxsize=4)
def _kept_model(wanted: Wanted, place: Place) -> Any:
    return open_bulk_model(wanted, place)
