"""Methods that embed the tokens of texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from ingrain.client.aio.caller import AsyncCaller
from ingrain.client.requests import Extra, InputType, ModelName, TokenDtype
from ingrain.client.rows import RowOptions, RowsJob
from ingrain.client.texts import AsyncTexts, text_fields, texts_of, token_calls
from ingrain.client.token_vectors import MultiVectors, Ragged, multi_vectors_of
from ingrain.vocabulary import Library


class EmbedTokens(AsyncCaller):
    """Embeds the tokens of texts."""

    async def embed_multi_vector(
        self,
        name: str,
        text: AsyncTexts,
        *,
        input_type: InputType | None = None,
        normalize: bool | None = None,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: TokenDtype | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> MultiVectors:
        """Embed any number of texts with several vectors each, for late interaction.

        Args:
            name: A multi-vector model (ColBERT); it must be loaded.
            text: One text or several, as for ``embed_text``.
            input_type: ``query`` or ``document`` (default), which such a model reads differently.
            normalize: Bring each vector to unit length; None to leave the vectors as the model gives them.
            n_dims: Keep only the first dimensions; vectors are then brought to unit length.
            prompt: Put before every text instead of the model's prompt for queries or documents.
            prompt_name: Name of one of the model's own prompts, to put before every text instead.
            truncate: False to refuse a text (``TextTooLongError``) that is too long for the model.
            token_counts: True to return each text's tokens and whether it was truncated; vectors then come as JSON.
            output_dtype: ``float16``, ``int8``, ``binary`` or ``ubinary``; else floats.
            skip_none: Skip missing items (None, NaN) instead of refusing them; ``positions`` has the others' indices.
            library: Source library, if several models share the name.
            pretrained: Weight tag, if several are loaded.
            return_numpy: Vectors of a text as an array or as lists; None for the client's option.
            progress: Show a progress bar; None to show one on a terminal if the call takes long.
            request_id: ``X-Request-Id``; of several requests, all but the first get a number appended.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``embeddings`` with ``[t, D]`` for each text, in the order of the texts.

        Raises:
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **_fields(normalize, n_dims, output_dtype, extra),
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            may_be_raw=not token_counts,
            skip_none=skip_none,
            request_id=request_id,
            progress=progress,
        )
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        calls = token_calls("embed_multi_vector", model, texts, fields, options, self._options.batch_size)
        return await self._run(RowsJob(calls, texts, "texts", options, multi_vectors_of, Ragged()))

    async def stream_multi_vector(
        self,
        name: str,
        text: AsyncTexts,
        *,
        input_type: InputType | None = None,
        normalize: bool | None = None,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: TokenDtype | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> AsyncIterator[MultiVectors]:
        """Embed any number of texts: yield vectors request by request, in order, in bounded memory.

        Args are those of ``embed_multi_vector``.
        """
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **_fields(normalize, n_dims, output_dtype, extra),
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            may_be_raw=not token_counts,
            skip_none=skip_none,
            request_id=request_id,
        )
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        calls = token_calls("embed_multi_vector", model, texts, fields, options, self._options.batch_size)
        async with aclosing(self._transport.each(calls)) as parts:
            async for part in parts:
                yield multi_vectors_of(part)

    async def embed_tokens(
        self,
        name: str,
        text: AsyncTexts,
        *,
        input_type: InputType | None = None,
        return_tokens: bool = False,
        normalize: bool | None = None,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: TokenDtype | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> MultiVectors:
        """Embed the tokens of texts: one vector for each token, before pooling.

        Args:
            name: A model that was loaded with the task ``embed_tokens``, or a multi-vector model.
            text: One text or several, as for ``embed_text``.
            input_type: ``query`` or ``document``: the model's prompt of that name, if it has one.
            return_tokens: True to return the tokens of each text; vectors then come as JSON.
            normalize: As for ``embed_multi_vector``.
            n_dims: As for ``embed_multi_vector``.
            prompt: Put before every text; empty for no prompt, not even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before every text.
            truncate: As for ``embed_multi_vector``.
            token_counts: As for ``embed_multi_vector``.
            output_dtype: As for ``embed_multi_vector``.
            skip_none: As for ``embed_multi_vector``.
            library: As for ``embed_multi_vector``.
            pretrained: As for ``embed_multi_vector``.
            return_numpy: As for ``embed_multi_vector``.
            progress: As for ``embed_multi_vector``.
            request_id: As for ``embed_multi_vector``.
            extra: As for ``embed_multi_vector``.

        Returns:
            ``embeddings`` with ``[t, D]`` for each text, in the order of the texts.

        Raises:
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            "returnTokens": return_tokens or None,
            **_fields(normalize, n_dims, output_dtype, extra),
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            may_be_raw=not (token_counts or return_tokens),
            skip_none=skip_none,
            request_id=request_id,
            progress=progress,
        )
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        calls = token_calls("embed_tokens", model, texts, fields, options, self._options.batch_size)
        return await self._run(RowsJob(calls, texts, "texts", options, multi_vectors_of, Ragged()))


def _fields(
    normalize: bool | None, n_dims: int | None, output_dtype: TokenDtype | None, extra: Extra
) -> dict[str, object]:
    return {"normalize": normalize, "nDims": n_dims, "outputDtype": output_dtype, **(extra or {})}
