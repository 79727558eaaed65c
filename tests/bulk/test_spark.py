"""The user-defined function on a real Spark of this machine."""

import shutil
import sys

import numpy as np
import pytest

from bulk_repository import TEXT_MODEL, expected_vectors, numbered
from ingrain.bulk.spark import embed_udf

# Spark starts a Java machine, which takes longer than all quick tests of bulk jobs together.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Spark leaves sockets open
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
pytest.importorskip("pyspark", reason="pyspark is not installed; the extra `spark` brings it")


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)  # else the first python3 of the PATH
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    found = session.config("spark.sql.execution.arrow.maxRecordsPerBatch", "100").getOrCreate()
    yield found
    found.stop()
    patch.undo()


def test_a_column_of_texts_becomes_a_column_of_vectors(spark, repository):
    texts = [*numbered(500), None]
    frame = spark.createDataFrame(list(enumerate(texts)), "id int, text string").repartition(3)
    embed = embed_udf(TEXT_MODEL, repository=str(repository))
    rows = frame.withColumn("embedding", embed("text")).orderBy("id").collect()
    assert [row["text"] for row in rows] == texts
    assert rows[-1]["embedding"] is None
    np.testing.assert_allclose([row["embedding"] for row in rows[:-1]], expected_vectors(texts[:-1]), atol=1e-6)
