"""Methods that rank documents, score pairs of texts and classify texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingrain.api.classify_text import ClassifyTextAnswer
from ingrain.api.rerank import RerankAnswer, ScoreAnswer
from ingrain.client.aio.caller import AsyncCaller
from ingrain.client.requests import Extra, ModelName, route_call
from ingrain.client.texts import Texts, texts_of
from ingrain.vocabulary import Library


class ScoreText(AsyncCaller):
    """Scores texts and pairs of texts; each call is one request."""

    async def rerank(
        self,
        name: str,
        query: str,
        documents: Iterable[str | Mapping[str, Any]],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        raw_scores: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> RerankAnswer:
        """Rank documents by their relevance to a query, as ``CrossEncoder.rank`` does.

        Args:
            name: The model, a reranker; it must be loaded.
            query: The query.
            documents: Texts, or mappings with ``text`` and any other fields.
            top_n: Return only the best ones.
            return_documents: True to return each document with its score.
            raw_scores: True for the scores before the model's activation function.
            prompt: Put before the query, or the instruction of a model with a chat template; empty for no prompt, not
                even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before the query.
            truncate: False to refuse a pair (``TextTooLongError``) that is too long for the model.
            token_counts: True to return each pair's tokens and whether it was truncated.
            library: Source library, if several models share the name.
            pretrained: Not used by the models that rank.
            request_id: ``X-Request-Id``.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``results`` by falling score, each with the ``index`` of its document and the ``score``.

        Raises:
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        fields = {
            "query": query,
            "documents": list(texts_of(documents)),  # type: ignore[arg-type]  # it is no asynchronous generator
            "topN": top_n,
            "returnDocuments": return_documents or None,
            **_score_fields(raw_scores, prompt, prompt_name, truncate, token_counts, extra),
        }
        model = ModelName(name, library, pretrained)
        return await self._send(route_call("rerank", RerankAnswer, model, fields, request_id=request_id))

    async def score(
        self,
        name: str,
        pairs: Iterable[Sequence[str]],
        *,
        raw_scores: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> ScoreAnswer:
        """Score pairs of texts, as ``CrossEncoder.predict`` does.

        ``pairs`` are pairs of texts. The other args are those of ``rerank``.

        Returns:
            ``scores`` in the order of the pairs: numbers, or lists, by ``labels``, if the model gives several.
        """
        fields = {
            # The server refuses a text in the place of a pair, which a list would split into letters.
            "pairs": [pair if isinstance(pair, str) else list(pair) for pair in pairs],
            **_score_fields(raw_scores, prompt, prompt_name, truncate, token_counts, extra),
        }
        model = ModelName(name, library, pretrained)
        return await self._send(route_call("score", ScoreAnswer, model, fields, request_id=request_id))

    async def classify_text(
        self,
        name: str,
        text: Texts,
        *,
        text_pair: Texts | None = None,
        top_k: int | None = None,
        raw_scores: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> ClassifyTextAnswer:
        """Classify texts by the labels of the model.

        Args:
            name: The model, a text classifier; it must be loaded.
            text: One text or several.
            text_pair: The second text of each pair, for models of pairs; as many as there are texts.
            top_k: Return only the best labels of each text.
            raw_scores: True for logits instead of probabilities.
            prompt: Put before every text; empty for no prompt, not even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before every text.
            truncate: False to refuse a text (``TextTooLongError``) that is too long for the model.
            token_counts: True to return each text's tokens and whether it was truncated.
            library: Source library, if several models share the name.
            pretrained: Not used by the models that classify texts.
            request_id: ``X-Request-Id``.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``results``: for each text its labels by falling score.
        """
        fields = {
            "text": list(texts_of(text)),  # type: ignore[arg-type]  # as above
            "textPair": None if text_pair is None else list(texts_of(text_pair)),  # type: ignore[arg-type]  # as above
            "topK": top_k,
            **_score_fields(raw_scores, prompt, prompt_name, truncate, token_counts, extra),
        }
        model = ModelName(name, library, pretrained)
        return await self._send(route_call("classify_text", ClassifyTextAnswer, model, fields, request_id=request_id))

    async def classify_text_zero_shot(
        self,
        name: str,
        text: Texts,
        labels: Iterable[str],
        *,
        hypothesis_template: str | None = None,
        multi_label: bool = False,
        top_k: int | None = None,
        truncate: bool = True,
        library: Library | None = None,
        pretrained: str | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> ClassifyTextAnswer:
        """Classify texts by labels of your own, with a model of natural language inference.

        ``hypothesis_template`` is a sentence with ``{}`` for the label (``This example is {}.`` if not given). With
        ``multi_label`` each label has a probability of its own. The other args are those of ``classify_text``.

        Returns:
            ``results``: for each text the labels by falling probability.
        """
        fields = {
            "text": list(texts_of(text)),  # type: ignore[arg-type]  # as above
            "labels": labels if isinstance(labels, str) else list(labels),  # as for pairs
            "hypothesisTemplate": hypothesis_template,
            "multiLabel": multi_label or None,
            "topK": top_k,
            "truncate": None if truncate else False,
            **(extra or {}),
        }
        model, route = ModelName(name, library, pretrained), "classify_text_zero_shot"
        return await self._send(route_call(route, ClassifyTextAnswer, model, fields, request_id=request_id))


def _score_fields(
    raw_scores: bool, prompt: str | None, prompt_name: str | None, truncate: bool, token_counts: bool, extra: Extra
) -> dict[str, object]:
    return {
        "rawScores": raw_scores or None,
        "prompt": prompt,
        "promptName": prompt_name,
        "truncate": None if truncate else False,
        "tokenCounts": token_counts or None,
        **(extra or {}),
    }
