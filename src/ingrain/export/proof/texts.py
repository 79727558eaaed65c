"""The texts of a proof: many scripts, awkward characters, all lengths up to the maximum."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator

AWKWARD = (
    "",
    " ",
    "\n\t \r\n",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces   and\ta tab, then a line\nbreak ",
    "İstanbul'da ığdır ĞÜŞ",
    "Ὀδυσσεύς ΣΊΣΥΦΟΣ",
    "Straße, Œuvre, ﬁne ligature, ½ ①",
    "naïve cafe\u0301 re\u0301sume\u0301",
    "Съешь же ещё этих мягких французских булок",
    "مرحبا بالعالم، كيف حالك؟",
    "שָׁלוֹם עוֹלָם",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก วันนี้อากาศดี",
    "今天天气很好，我们去公园吧。",
    "吾輩は猫である。名前はまだ無い。ﾊﾝｶｸ",
    "동해물과 백두산이 마르고 닳도록",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️",
    "zero\u200bwidth\u00adsoft\u2060joiner\ufeffmark",
    "control\x00\x07\x1b[0m characters \x7f\x85",
    "\U0001d4d7\U0001d4f8\U0001d4fc \U00010330\U00010331 \U000e0041",
    "def f(x): return x**2  # <b>code</b> & {'json': [1, 2.5e-3]}",
    "https://example.org/a/b?c=d&e=%20#f user@example.org",
    "1,234,567.89 € on 2026-02-29 at 13:37",
    "x" * 120,
    "!?…—–«»“”‘’·•",
    "\ud7ff\ue000\ufffd\uffff private",
)

# fmt: off
_WORDS = (
    "river", "stone", "Berlin", "42", "quantum", "coffee", "naïve", "élan", "дерево", "солнце", "你好", "世界", "東京",
    "서울", "שלום", "سلام", "नमस्ते", "ภาษา", "Ελλάδα", "running", "unbelievably", "antidisestablishmentarianism",
    "e-mail", "don't", "#tag", "🙂", "3.14", "the", "of", "and", "to", "in", "is", "it",
)
# fmt: on

# Unicode blocks for random texts: living scripts, symbols, astral planes, unassigned code points.
_BLOCKS = (
    (0x20, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58F),
    (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xAFF),
    (0xB80, 0xBFF), (0xC00, 0xC7F), (0xD00, 0xD7F), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x21FF), (0x2200, 0x22FF), (0x2460, 0x24FF), (0x2600, 0x27BF),
    (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFEF),
    (0x10000, 0x103FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE000, 0xE0FF),
)  # fmt: skip


def tokenizer_texts(special_tokens: list[str], max_tokens: int) -> list[str]:
    """Return several hundred texts for comparing two tokenizers.

    Args:
        special_tokens: The tokenizer's special tokens, which a user may type.
        max_tokens: The maximum length; some texts are longer.
    """
    seed = random.Random(20261122)  # noqa: S311  # fixed, for the same texts every time
    texts = [*AWKWARD]
    texts += [unicodedata.normalize(form, text) for text in AWKWARD for form in ("NFD", "NFKC")]
    texts += [text.upper() for text in AWKWARD] + [text.lower() for text in AWKWARD]
    texts += [f" {text} \n" for text in AWKWARD]
    for block in _BLOCKS:
        texts += ["".join(_characters(block, seed)) for _ in range(5)]
    texts += [" ".join(seed.choices(_WORDS, k=seed.randint(1, 40))) for _ in range(120)]
    texts += ["".join(seed.choices("".join(AWKWARD), k=seed.randint(1, 80))) for _ in range(80)]
    for token in special_tokens[:12]:
        texts += [token, f"a {token} b", f"x{token}{token}y", token.lower(), f" {token[:-1]}"]
    texts += [_long_text(seed, words) for words in (max_tokens // 2, max_tokens, 2 * max_tokens)]
    return texts


def text_of_length(count: int, measure: Callable[[str], int], longest: int) -> str:
    """Return a text of ``count`` tokens, special tokens included; about that many if no text has exactly as many.

    Args:
        count: Number of tokens.
        measure: Returns the number of tokens of a text after truncation.
        longest: The maximum length; for a larger ``count``, the text will be truncated.
    """
    seed = random.Random(count)  # noqa: S311  # as above
    words = _long_text(seed, count + 8).split(" ")
    if count > longest:
        return " ".join(words)
    low, high = 0, len(words)  # the longest prefix that is not too long
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(" ".join(words[:middle])) <= count else (low, middle - 1)
    text = " ".join(words[:low])
    for _ in range(16):  # the next word was too long; fill up with short ones
        if measure(f"{text} a") > count:
            break
        text = f"{text} a" if text else "a"
    return text


def lengths_to_prove(longest: int) -> list[int]:
    """Return token counts from 1 to ``longest``: all small ones, then those around powers of two."""
    dense = set(range(1, min(longest, 12) + 1))
    doubling = set(_around_powers_of_two(longest))
    return sorted(dense | doubling | {longest, max(1, longest - 1)})


def _around_powers_of_two(longest: int) -> Iterator[int]:
    power = 16
    while power <= longest:
        yield from (length for length in (power - 1, power, power + 1) if length <= longest)
        power *= 2


def _characters(block: tuple[int, int], seed: random.Random) -> Iterator[str]:
    for _ in range(seed.randint(2, 24)):
        yield " " if seed.random() < 0.15 else chr(seed.randint(*block))


def _long_text(seed: random.Random, words: int) -> str:
    return " ".join(seed.choices(_WORDS, k=max(1, words)))
