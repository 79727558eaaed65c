"""The texts of a benchmark: distinct, of the stated lengths, the same in every run."""

import statistics

import pytest

from ingrain.bench.texts import make_texts
from ingrain.errors import SettingsError


def lengths(texts) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize("mix", ["query", "constant", "lognormal"])
def test_texts_are_distinct_and_the_same_each_time(mix):
    texts = make_texts(mix, 2_000)
    assert len(set(texts)) == 2_000
    assert texts == make_texts(mix, 2_000)
    assert texts != make_texts(mix, 2_000, seed=8)


def test_lengths_are_as_stated():
    assert set(lengths(make_texts("query", 2_000))) == {4, 5, 6, 7, 8, 9}
    assert set(lengths(make_texts("constant", 500))) == {8}
    passages = lengths(make_texts("lognormal", 4_000))
    assert 55 < statistics.median(passages) < 65
    assert max(passages) > 400


def test_news_articles_are_distinct_and_of_many_lengths():
    articles = make_texts("news", 1_000)
    assert len(articles) == len(set(articles)) == 293
    assert min(lengths(articles)) < 60
    assert max(lengths(articles)) > 300
    assert make_texts("news", 10) == articles[:10]


def test_without_the_package_that_carries_them_it_is_said_where_articles_come_from(monkeypatch):
    monkeypatch.setattr("ingrain.bench.texts._NEWS_PACKAGE", "no-such-package")
    with pytest.raises(SettingsError, match="pip install --no-deps gensim"):
        make_texts("news", 10)


def test_a_file_gives_its_lines(tmp_path):
    file = tmp_path / "texts"
    file.write_text("one\n\n two \nthree\n", "utf-8")
    assert make_texts("file", 2, file=file) == ["one", "two"]


def test_files_that_give_no_text_are_refused(tmp_path):
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (None, tmp_path / "missing", empty, binary):
        with pytest.raises(SettingsError):
            make_texts("file", 5, file=file)
