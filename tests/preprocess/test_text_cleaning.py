"""Cleaning of texts; that it equals OpenCLIP's on thousands of texts is shown where OpenCLIP is (tests/export)."""

import html

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.preprocess.text_cleaning import clean_texts


@pytest.mark.parametrize(
    ("text", "lower", "whitespace", "canonicalize"),
    [
        ("", "", "", ""),
        (" \t\n", "", "", ""),
        ("A  Photo,\nof_a\tCat!", "a photo, of_a cat!", "A Photo, of_a Cat!", "a photo of a cat"),
        ("Tom &amp; Jerry", "tom & jerry", "Tom & Jerry", "tom jerry"),
        ("&amp;amp;lt;b&amp;gt;", "<b>", "<b>", "b"),  # ftfy resolves entities as well
        ("âœ” No problems", "✔ no problems", "✔ No problems", "✔ no problems"),
        ("“quoted” ﬁne", '"quoted" fine', '"quoted" fine', "quoted fine"),
        ("ΣΊΣΥΦΟΣ İ", "σίσυφος i̇", "ΣΊΣΥΦΟΣ İ", "σίσυφος i̇"),
        ("a\u00a0b\u3000c\x85d", "a b c … d".replace(" … ", "…"), "a b c…d", "a b c…d"),
        ("don't — 50%", "don't — 50%", "don't — 50%", "dont — 50"),
    ],
)
def test_texts_are_cleaned_as_openclip_does(text: str, lower: str, whitespace: str, canonicalize: str) -> None:
    assert clean_texts([text], "clip_lower") == [lower]
    assert clean_texts([text], "clip_whitespace") == [whitespace]
    assert clean_texts([text], "clip_canonicalize") == [canonicalize]
    assert clean_texts([text], "none") == [text]


@given(st.text(st.characters(min_codepoint=9, max_codepoint=126, exclude_characters="&\x0b\x0c\x0e\x0f")))
def test_the_short_way_for_plain_ascii_changes_nothing(text: str) -> None:
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean_texts([text], "clip_whitespace") == [" ".join(mended.split())]


@given(st.text())
def test_every_text_is_mended_as_ftfy_and_html_do(text: str) -> None:
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean_texts([text], "clip_lower") == [" ".join(mended.split()).lower()]
