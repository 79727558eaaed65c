"""Search the lines of a file by meaning and by words, fuse both lists by reciprocal ranks, and rerank the best.

pip install ingrain numpy
ingrain load all-MiniLM-L6-v2 && ingrain load naver/splade-v3 && ingrain load cross-encoder/ms-marco-MiniLM-L6-v2
python examples/hybrid_search.py FILE "how do vaccines work"
"""

import os
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from ingrain import Client

DENSE = os.environ.get("INGRAIN_DENSE_MODEL", "all-MiniLM-L6-v2")
SPARSE = os.environ.get("INGRAIN_SPARSE_MODEL", "naver/splade-v3")
RERANKER = os.environ.get("INGRAIN_RERANKER", "cross-encoder/ms-marco-MiniLM-L6-v2")
CANDIDATES, RESULTS, RANK_CONSTANT = 20, 5, 60

client = Client(return_numpy=True)  # the server of INGRAIN_INFERENCE_URL, or the one on this machine
documents = [line for line in Path(sys.argv[1]).read_text("utf-8").splitlines() if line.strip()]
query = sys.argv[2]


def dense_search() -> list[int]:
    """Return the places of the documents whose vectors are nearest to the query's, best first."""
    index = client.embed_text(DENSE, documents, input_type="document").embeddings  # unit vectors, float32 [N, D]
    (wanted,) = client.embed_text(DENSE, query, input_type="query").embeddings
    return np.argsort(-index @ wanted)[:CANDIDATES].tolist()


def sparse_search() -> list[int]:
    """Return the places of the documents with the largest products, best first, by an inverted index."""
    postings = defaultdict(list)
    for place, vector in enumerate(client.embed_sparse(SPARSE, documents, input_type="document").embeddings):
        for token, weight in zip(vector.indices, vector.values, strict=True):
            postings[token].append((place, weight))
    (wanted,) = client.embed_sparse(SPARSE, query, input_type="query").embeddings
    products = Counter()
    for token, weight in zip(wanted.indices, wanted.values, strict=True):
        for place, other in postings[token]:
            products[place] += weight * other
    return [place for place, _ in products.most_common(CANDIDATES)]


lists = {"dense": dense_search(), "sparse": sparse_search()}
fused = Counter()  # reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)
for places in lists.values():
    for rank, place in enumerate(places, start=1):
        fused[place] += 1 / (RANK_CONSTANT + rank)
candidates = [place for place, _ in fused.most_common(CANDIDATES)]
ranked = client.rerank(RERANKER, query, [documents[place] for place in candidates], top_n=RESULTS)
for result in ranked.results:
    place = candidates[result.index]
    found = ", ".join(f"{name} {places.index(place) + 1}" for name, places in lists.items() if place in places)
    print(f"{result.score:.4f}  {documents[place][:80]}  ({found})")
