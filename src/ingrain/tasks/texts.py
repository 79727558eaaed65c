"""The texts of a request: their limits, their prompt and their tokenization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ingrain.errors import InvalidRequestError, TextTooLongError, TokenizerError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, RequestLimits
from ingrain.preprocess.prompts import PromptChoice, resolve_prompt
from ingrain.preprocess.special_tokens import CutSide, SpecialTokens
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.text_threads import Slice, TextThreads
from ingrain.preprocess.tokenized import TokenizedText, TokenizedTexts, cut_tokens_of, join, lengths_of
from ingrain.tasks.item_limit import check_count

Take = Callable[[LoadedModel, Sequence[TokenizedText]], Sequence[TokenizedText]]

MAX_ADDED_CHARS = 10_000_000
"""Maximum number of characters that prompts or templates may add to the texts of a request."""

# Tokenizing at most so much takes less time than handing it to a thread.
_INLINE_CHARS = 4_000
_INLINE_TEXTS = 32
# Looking up the words of a text takes about an eighth of the time of tokenizing it.
_LOOK_UPS_INSTEAD = 8
# A slice takes a thread about 10 ms, and other requests may wait for its end; handing it over takes 0.1 ms.
_SLICE_CHARS = 16_000
_SLICE_TEXTS = 1_024


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of a request, with their options for tokenization.

    Attributes:
        texts: The texts; empty if ``token_ids`` is given.
        token_ids: Token ids of each text, of the model's own tokenizer, instead of ``texts``.
        prompt: Prompt for the texts; None for the model's default prompt.
        truncate: False to refuse texts that exceed the model's maximum length instead of truncating them.
        cut_side: Side on which texts are truncated; None for the source library's side.
        max_tokens: Maximum number of tokens of a text, with special tokens, if that is less than the model's; None for
            the model's.
        param: Name of the request field, for errors.
        places: Index of each text in the request field; None if ``texts`` is the whole field.
        is_list: False if the field is a single text, not a list.
        cache_group: Group of requests that share cached rows; None to compute all rows.
    """

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    prompt: PromptChoice | None = None
    truncate: bool = True
    cut_side: CutSide | None = None
    max_tokens: int | None = None
    param: str = "text"
    places: Sequence[int] | None = None
    is_list: bool = True
    cache_group: int | None = 0

    def __len__(self) -> int:
        return len(self.texts if self.token_ids is None else self.token_ids)

    def place(self, index: int) -> int:
        """Return a text's index in the request field."""
        return index if self.places is None else self.places[index]

    def name(self, index: int) -> str:
        """Return the name of a text for errors, like ``text[3]``."""
        return f"{self.param}[{self.place(index)}]" if self.is_list else self.param


def check_texts(limits: RequestLimits, texts: Texts) -> None:
    """Refuse too many texts and too long texts."""
    param, longest = texts.param, limits.max_text_chars
    given = texts.texts if texts.token_ids is None else texts.token_ids
    if len(given) > limits.max_items:
        check_count(len(given), limits.max_items, param, "texts" if param == "text" else param)
    for index, text in enumerate(given):
        if len(text) > longest:
            what = "characters" if texts.token_ids is None else "token ids"
            raise TooLargeError(
                f"{texts.name(index)} has {len(text)} {what}; the limit is {longest} (INGRAIN_MAX_TEXT_CHARS).",
                param=texts.name(index),
                facts={"limit": longest},
            )
    if texts.token_ids is not None and texts.prompt is not None:
        raise InvalidRequestError(
            "A prompt can be used with texts, not with token ids of the model's own tokenizer.", param=param
        )


def count_truncated(items: Sequence[TokenizedText]) -> int:
    """Return the number of truncated texts."""
    if type(items) is TokenizedTexts:
        return 0
    return sum([item.cut_tokens > 0 for item in items])  # a list is twice as fast as a generator for one text


def choose_prompt(texts: Texts, model: LoadedModel, limits: RequestLimits) -> str | None:
    """Return the requested prompt; None for the model's default prompt.

    Raises:
        InvalidRequestError: The model has no such prompt.
        TooLargeError: The prompt makes the texts too long.
    """
    assert model.text is not None
    if texts.prompt is None:
        return None
    prompt = resolve_prompt(texts.prompt, model.text.config, model.manifest.name)
    if prompt and texts.texts:
        longest, limit = len(prompt) + max(map(len, texts.texts)), limits.max_text_chars
        if longest > limit or len(prompt) * len(texts.texts) > MAX_ADDED_CHARS:
            raise TooLargeError(
                f"The prompt makes the texts longer than {limit} characters each (INGRAIN_MAX_TEXT_CHARS), or adds "
                f"more than {MAX_ADDED_CHARS} in all.",
                param="prompt",
                facts={"limit": limit},
            )
    return prompt


def is_short(texts: Texts, prompt: str | None, tokenizer: TextPreprocessor) -> bool:
    """Return whether tokenizing the texts takes less time than starting a thread."""
    given, times = texts.texts, _LOOK_UPS_INSTEAD if tokenizer.looks_up_words else 1
    return (
        texts.token_ids is None
        and len(given) <= times * _INLINE_TEXTS
        and sum(map(len, given)) + len(given) * len(prompt or "") <= times * _INLINE_CHARS
    )


def tokenize(texts: Texts, prompt: str | None, tokenizer: TextPreprocessor) -> Sequence[TokenizedText]:
    """Return the token ids of each text.

    Raises:
        TextTooLongError: A text exceeds the model's maximum length and ``truncate`` is False.
        InvalidRequestError: A token id is not in the model's vocabulary, or ``max_tokens`` is too small.
        TokenizerError: The tokenizer failed on a text.
    """
    items: Sequence[TokenizedText]
    if texts.token_ids is not None:
        items = tokenizer.take_ids(texts.token_ids, name=texts.name, cut_side=texts.cut_side)
    else:
        encode = tokenizer.encode_many if len(texts.texts) > _INLINE_TEXTS else tokenizer.encode
        try:
            items = encode(texts.texts, prompt=prompt, cut_side=texts.cut_side, counts_all=not texts.truncate)
        except TokenizerError as error:
            raise _named(error, texts, prompt, tokenizer) from error
    limit = tokenizer.config.max_tokens
    if texts.max_tokens is not None and texts.max_tokens < limit:
        limit, items = texts.max_tokens, _shortened(texts, items, texts.max_tokens, tokenizer.special)
    if not texts.truncate:
        _refuse_cut(texts, items, limit)
    return items


def _shortened(
    texts: Texts, items: Sequence[TokenizedText], limit: int, special: SpecialTokens
) -> Sequence[TokenizedText]:
    if limit <= special.count:
        raise InvalidRequestError(
            f"{limit} tokens have no room for the tokens of a text: the model adds {special.count} special tokens.",
            param=texts.param,
        )
    if max(lengths_of(items), default=0) <= limit:
        return items
    return [special.shorten(item, limit, texts.cut_side) for item in items]


def prepare_texts(
    texts: Texts, prompt: str | None, tokenizer: TextPreprocessor, model: LoadedModel, timeout_s: float, take: Take
) -> Sequence[TokenizedText] | Groups:
    """Tokenize a request's texts: at once if they are short, else in turns with other requests.

    Args:
        texts: The texts.
        prompt: Their prompt; None for the model's default.
        tokenizer: The tokenizer.
        model: The model.
        timeout_s: Timeout of the request in seconds.
        take: Called once with the model and the tokenized texts; returns the model inputs.

    Returns:
        What a task's ``prepare`` returns.
    """
    if is_short(texts, prompt, tokenizer):
        return take(model, tokenize(texts, prompt, tokenizer))
    return _prepare_in_slices(texts, prompt, tokenizer, model, timeout_s, take)


async def _prepare_in_slices(
    texts: Texts, prompt: str | None, tokenizer: TextPreprocessor, model: LoadedModel, timeout_s: float, take: Take
) -> Groups:
    yield take(model, await tokenize_in_slices(texts, prompt, tokenizer, model.text_threads, timeout_s=timeout_s))


async def tokenize_in_slices(
    texts: Texts, prompt: str | None, tokenizer: TextPreprocessor, threads: TextThreads, *, timeout_s: float
) -> Sequence[TokenizedText]:
    """Return the token ids of each text, as ``tokenize`` does, in turns with other requests.

    Raises:
        QueueFullError: The texts of other requests take too long for the timeout in seconds.
    """
    slices: list[Slice[Sequence[TokenizedText]]] = []
    given = texts.texts if texts.token_ids is None else texts.token_ids
    # Of a long text usually only the start is tokenized.
    most = tokenizer.start_chars if tokenizer.may_be_cut and texts.truncate else None
    chars = first = 0
    for index, text in enumerate(given):
        chars += len(prompt or "") + (len(text) if most is None else min(len(text), most))
        end = index + 1
        if chars >= _SLICE_CHARS or end - first >= _SLICE_TEXTS or end == len(given):
            slices.append((partial(tokenize, _part(texts, first, end), prompt, tokenizer), chars))
            chars, first = 0, end
    done = await threads.run(slices, timeout_s=timeout_s)
    return done[0] if len(done) == 1 else join(done)


def _part(texts: Texts, first: int, end: int) -> Texts:
    """Return some of the texts; their names for errors stay."""
    if first == 0 and end == len(texts):
        return texts
    if texts.token_ids is None:
        given = msgspec.structs.replace(texts, texts=texts.texts[first:end])
    else:
        given = msgspec.structs.replace(texts, token_ids=texts.token_ids[first:end])
    places = range(first, end) if texts.places is None else texts.places[first:end]
    return msgspec.structs.replace(given, places=places)


def _named(error: TokenizerError, texts: Texts, prompt: str | None, tokenizer: TextPreprocessor) -> TokenizerError:
    """Return the error with the name of the text that the tokenizer fails on, found by trying each."""
    for index, text in enumerate(texts.texts):
        try:
            tokenizer.encode([text], prompt=prompt, cut_side=texts.cut_side, counts_all=not texts.truncate)
        except TokenizerError:
            return TokenizerError(f"The model's tokenizer failed on {texts.name(index)}.", param=texts.name(index))
    return error


def _refuse_cut(texts: Texts, items: Sequence[TokenizedText], limit: int) -> None:
    for index, (tokens, cut_tokens) in enumerate(zip(lengths_of(items), cut_tokens_of(items), strict=True)):
        if cut_tokens:
            length = tokens + cut_tokens
            raise TextTooLongError(
                f"{texts.name(index)} has {length} tokens; the model takes {limit}. Shorten the text, or send "
                "`truncate: true`.",
                param=texts.name(index),
                facts={"index": texts.place(index), "tokens": length, "limit": limit},
            )
