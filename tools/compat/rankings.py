"""Compares rankings of news by a trained cross-encoder on a real server with those of ``CrossEncoder.rank``.

Trains the cross-encoder, has a server convert it, and prints how many queries have their documents in the library's
order. Exits with 1 if in any of them documents change places that are not tied.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from processes import serve
from rankings import compare, news_queries, rank_by_library, rank_by_server
from torch_process import torch_pool
from trained_reranker import RERANKER, build_trained_reranker


def main() -> None:
    """Train, serve and compare."""
    parser = argparse.ArgumentParser(prog="python -m compat.rankings", description=__doc__)
    parser.add_argument("--queries", type=int, default=100, help="at most 100")
    parser.add_argument("--documents", type=int, default=50, help="of each query, at most 100")
    options = parser.parse_args()
    queries = news_queries(options.queries, options.documents)
    with tempfile.TemporaryDirectory(prefix="ingrain-rankings-") as scratch:
        models = Path(scratch) / "models"
        with torch_pool() as pool:
            pool.submit(build_trained_reranker, models / RERANKER).result()
            wanted = pool.submit(rank_by_library, models / RERANKER, queries).result()
        with serve(Path(scratch), f"--local-models-dir={models}", f"--models={RERANKER}") as server:
            server.wait_until_ready(600)
            served = rank_by_server(server.inference, RERANKER, queries)
    found = compare(served, wanted)
    print(f"{len(queries)} queries of {options.documents} documents: {found}")
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
