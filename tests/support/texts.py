"""Real texts and judgements that the gensim package carries; read as files, the package is never imported."""

import csv
import re

import numpy as np

from processes import package_folder

_DATA = package_folder("gensim", "gensim/test/test_data")


def articles() -> list[str]:
    """Return 300 news articles of the Lee background corpus, 30 to 350 words each."""
    return (_DATA / "lee_background.cor").read_text("utf-8").splitlines()


def sentences() -> list[str]:
    """Return the articles' sentences."""
    return [sentence for article in articles() for sentence in sentences_of(article)]


def sentences_of(article: str) -> list[str]:
    """Return the sentences of a text."""
    return [part for part in re.split(r"(?<=[.!?])\s+", article.strip()) if part]


def judged_articles() -> list[str]:
    """Return the 50 news articles of the Lee corpus, 50 to 130 words each; none is one of ``articles``."""
    return (_DATA / "lee.cor").read_text("latin-1").splitlines()


def human_similarities():
    """Return how similar people find ``judged_articles``, 0 to 1, ``float64 [50, 50]``."""
    return np.loadtxt(_DATA / "similarities0-1.txt")


def word_pairs() -> list[tuple[str, str, float]]:
    """Return WordSim-353: pairs of words and how similar people find them."""
    with (_DATA / "wordsim353.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if not row[0].startswith("#")]
    return [(first, second, float(score)) for first, second, score in rows]


def word_similarity(embed) -> float:
    """Return Spearman's correlation of cosines with WordSim-353; ``embed`` makes unit vectors ``[N, D]`` of texts."""
    from scipy.stats import spearmanr

    words = sorted({word for first, second, _ in word_pairs() for word in (first, second)})
    vectors = dict(zip(words, embed(words), strict=True))
    cosines = [float(vectors[first] @ vectors[second]) for first, second, _ in word_pairs()]
    return float(spearmanr(cosines, [score for *_, score in word_pairs()]).statistic)
