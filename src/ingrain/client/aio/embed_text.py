"""Methods that embed texts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from ingrain.client.aio.caller import AsyncCaller
from ingrain.client.answers import Part
from ingrain.client.items import Items
from ingrain.client.requests import Extra, InputType, ModelName, OutputDtype, vector_fields
from ingrain.client.rows import Calls, RowOptions, RowsJob
from ingrain.client.text_outputs import TextEmbeddings, output_calls, text_embeddings_of
from ingrain.client.texts import AsyncTexts, text_calls, text_fields, texts_of
from ingrain.client.token_vectors import Ragged
from ingrain.vocabulary import Library, Output


class EmbedText(AsyncCaller):
    """Embeds texts."""

    async def embed_text(
        self,
        name: str,
        text: AsyncTexts = (),
        normalize: bool = True,
        n_dims: int | None = None,
        retries: int | None = None,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        outputs: Sequence[Output] | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> TextEmbeddings:
        """Embed any number of texts.

        Args:
            name: The model; it must be loaded.
            text: One text or several: a list, a column (pandas, polars, Arrow, numpy, datasets), or a generator, which
                is read as requests are sent. No texts give an empty result without a request.
            normalize: Bring each vector to unit length.
            n_dims: Keep only the first dimensions, before normalizing.
            retries: Largest number of retries of each request; None for that of the client's policy.
            prompt: Put before every text; empty for no prompt, not even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before every text.
            input_type: ``query`` or ``document``: the model's prompt of that name, if it has one.
            truncate: False to refuse a text (``TextTooLongError``) that is too long for the model.
            token_counts: True to return each text's tokens and whether it was truncated; vectors then come as JSON.
            output_dtype: ``int8``, ``uint8``, ``binary`` or ``ubinary`` as in sentence-transformers; else floats.
            outputs: ``dense``, ``sparse`` and ``multiVector``, or some of them: what to return of each text, computed
                at once by a model with several outputs (BGE-M3). None for ``embeddings`` alone.
            skip_none: Skip missing items (None, NaN) instead of refusing them; ``positions`` has the others' indices.
            library: Source library, if several models share the name.
            pretrained: Weight tag of an OpenCLIP model, if several are loaded.
            return_numpy: Vectors as a float32 array or as lists; None for the client's option.
            progress: Show a progress bar; None to show one on a terminal if the call takes long.
            request_id: ``X-Request-Id``; of several requests, all but the first get a number appended.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``embeddings`` ``[N, D]`` in the order of the texts.

        Raises:
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **vector_fields(normalize, n_dims, output_dtype, extra),
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            may_be_raw=not token_counts,
            skip_none=skip_none,
            request_id=request_id,
            progress=progress,
            retries=retries,
        )
        calls, rows = self._text_calls(model, texts, fields, options, outputs), None if outputs is None else Ragged()
        finish = partial(text_embeddings_of, outputs=outputs or ())
        return await self._run(RowsJob(calls, texts, "texts", options, finish, rows))

    async def stream_text(
        self,
        name: str,
        text: AsyncTexts,
        *,
        normalize: bool = True,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        outputs: Sequence[Output] | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> AsyncIterator[TextEmbeddings]:
        """Embed any number of texts: yield vectors request by request, in order, in bounded memory.

        Args are those of ``embed_text``.
        """
        model, texts = ModelName(name, library, pretrained), texts_of(text)
        fields = {
            **text_fields(prompt, prompt_name, input_type, truncate, token_counts),
            **vector_fields(normalize, n_dims, output_dtype, extra),
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            may_be_raw=not token_counts,
            skip_none=skip_none,
            request_id=request_id,
        )
        calls = self._text_calls(model, texts, fields, options, outputs)
        async with aclosing(self._transport.each(calls)) as parts:
            async for part in parts:
                yield text_embeddings_of(part)

    def _text_calls(
        self,
        model: ModelName,
        texts: Items[Any],
        fields: Mapping[str, object],
        options: RowOptions,
        outputs: Sequence[Output] | None,
    ) -> Calls[Part]:
        most = self._options.batch_size
        if outputs is None:
            return text_calls("embed_text", model, texts, fields, options, most)
        return output_calls(model, texts, fields, options, most, outputs)
