# Written by `make docs` from aio/embed_sparse.py; change that one.
"""Methods that embed texts into sparse vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from ingrain.client.requests import Extra, InputType, ModelName
from ingrain.client.rows import RowOptions, RowsJob
from ingrain.client.sparse import SparseEmbeddings, sparse_calls, sparse_embeddings_of
from ingrain.client.sync.caller import Caller
from ingrain.client.texts import Texts, text_fields, texts_of
from ingrain.vocabulary import Library


class EmbedSparse(Caller):
    """Embeds texts into sparse vectors."""

    def embed_sparse(
        self,
        name: str,
        text: Texts,
        *,
        input_type: InputType | None = None,
        top_k: int | None = None,
        min_weight: float | None = None,
        tokens: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> SparseEmbeddings:
        """Embed any number of texts into sparse vectors, by a sparse encoder such as SPLADE.

        Args:
            name: The model; it must be loaded.
            text: One text or several, as in ``embed_text``.
            input_type: ``query`` or ``document``: the side of a search, for a model with a prompt or encoder for each.
            top_k: Keep only so many entries of largest weight of each vector.
            min_weight: Leave out entries of lower weight.
            tokens: True to return the token of each entry.
            prompt: Put before every text; empty for no prompt, not even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before every text.
            truncate: False to refuse a text (``TextTooLongError``) that is too long for the model.
            token_counts: True to return each text's tokens and whether it was truncated.
            skip_none: Skip missing items (None, NaN) instead of refusing them; ``positions`` has the others' indices.
            library: Source library, if several models share the name.
            pretrained: Weight tag of an OpenCLIP model; sparse encoders have none.
            return_numpy: Indices and values as arrays or as lists; None for the client's option.
            progress: Show a progress bar; None to show one on a terminal if the call takes long.
            request_id: ``X-Request-Id``; of several requests, all but the first get a number appended.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``embeddings`` in the order of the texts.

        Raises:
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **{"topK": top_k, "minWeight": min_weight, "tokens": tokens or None, **(extra or {})},
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy), skip_none=skip_none, request_id=request_id, progress=progress
        )
        calls = sparse_calls(model, texts, fields, options, self._options.batch_size)
        return self._run(RowsJob(calls, texts, "texts", options, sparse_embeddings_of))

    def stream_sparse(
        self,
        name: str,
        text: Texts,
        *,
        input_type: InputType | None = None,
        top_k: int | None = None,
        min_weight: float | None = None,
        tokens: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Iterator[SparseEmbeddings]:
        """Embed any number of texts into sparse vectors: yield them request by request, in order, in bounded memory.

        Args are those of ``embed_sparse``.
        """
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **{"topK": top_k, "minWeight": min_weight, "tokens": tokens or None, **(extra or {})},
        }
        options = RowOptions(as_numpy=self._as_numpy(return_numpy), skip_none=skip_none, request_id=request_id)
        calls = sparse_calls(model, texts, fields, options, self._options.batch_size)
        with closing(self._transport.each(calls)) as parts:
            for part in parts:
                yield sparse_embeddings_of(part)
