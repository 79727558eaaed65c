"""Generates the texts of a benchmark: distinct, with a given distribution of lengths, and reproducible."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from ingrain.errors import SettingsError

Mix = Literal["query", "constant", "news", "lognormal", "file"]
_WORDS = (
    *("river", "stone", "market", "quiet", "signal", "garden", "copper", "window", "travel", "letter", "summer"),
    *("engine", "paper", "forest", "silver", "morning", "number", "island", "bridge", "winter", "doctor", "planet"),
    *("coffee", "street", "mirror", "castle", "yellow", "pocket", "singer", "thunder", "kitchen", "harbour"),
)
_CONSTANT_WORDS = 8
_LOGNORMAL_MEDIAN, _LOGNORMAL_SIGMA, _LOGNORMAL_MOST = 60, 0.9, 1_000
_PIECE_WORDS = 4
_NEWS_PACKAGE, _NEWS_FILE = "gensim", "gensim/test/test_data/lee_background.cor"


def make_texts(mix: Mix, count: int, *, file: Path | None = None, seed: int = 7) -> list[str]:
    """Generate or read the texts of a mix.

    Args:
        mix: ``query``: 4 to 9 words, as in search queries. ``constant``: 8 words each. ``lognormal``: the number of
            words is log-normal with median 60 and sigma 0.9, at most 1,000, as in passages of documents. ``news``: the
            articles of the Lee background corpus in the package gensim, 30 to 350 words each. ``file``: the lines of
            ``file``, in order.
        count: Number of texts; a file may have fewer, and ``news`` has 293.
        file: The file of the mix ``file``.
        seed: Seed of the random words.

    Raises:
        SettingsError: The file cannot be read or has no text, or the package gensim is not installed.
    """
    if mix == "news":
        return list(dict.fromkeys(_lines(_news_file(), None)))[:count]
    if mix == "file":
        return _lines(file, count)
    numbers = random.Random(seed)  # noqa: S311 - the same texts in every run
    texts: dict[str, None] = {}
    for length in _lengths(mix, numbers):
        texts[" ".join(numbers.choices(_WORDS, k=length))] = None
        if len(texts) == count:
            return list(texts)
    raise AssertionError("_lengths never ends")


def _lengths(mix: Mix, numbers: random.Random) -> Iterator[int]:
    while True:
        if mix == "query":
            yield numbers.randint(4, 9)
        elif mix == "constant":
            yield _CONSTANT_WORDS
        else:
            length = round(math.exp(numbers.gauss(math.log(_LOGNORMAL_MEDIAN), _LOGNORMAL_SIGMA)))
            yield min(_LOGNORMAL_MOST, max(_PIECE_WORDS, length))


def _news_file() -> Path:
    """Return the file of articles in the package gensim, without importing the package."""
    try:
        return Path(str(distribution(_NEWS_PACKAGE).locate_file(_NEWS_FILE)))
    except PackageNotFoundError:
        raise SettingsError(
            "The mix 'news' needs the articles in the package gensim: pip install --no-deps gensim.",
            param="--mix",
        ) from None


def _lines(file: Path | None, count: int | None) -> list[str]:
    if file is None:
        raise SettingsError("The mix 'file' needs --texts-file.", param="--texts-file")
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {file} cannot be read as UTF-8 text.", param="--texts-file") from error
    texts = [line for line in lines if line][:count]
    if not texts:
        raise SettingsError(f"The file {file} contains no text.", param="--texts-file")
    return texts
