# Written by `make docs` from aio/embed_both.py; change that one.
"""The method that embeds texts and images side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from ingrain.api import types
from ingrain.client.answers import BothEmbeddings, Rows, both_of, embeddings_of
from ingrain.client.pictures import Pictures, picture_calls, pictures_of
from ingrain.client.requests import Extra, InputType, ModelName, OutputDtype, route_call, vector_fields
from ingrain.client.rows import PairJob, RowOptions, RowsJob
from ingrain.client.sync.caller import Caller
from ingrain.client.texts import Texts, text_calls, text_fields, texts_of
from ingrain.vocabulary import Library


class EmbedBoth(Caller):
    """Embeds texts and images in one call."""

    def embed(
        self,
        name: str,
        text: Texts | None = None,
        image: Pictures | None = None,
        normalize: bool = True,
        n_dims: int | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        retries: int | None = None,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        shrink: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> BothEmbeddings:
        """Embed texts and images concurrently; the result is None for an argument that is not given.

        Args are those of ``embed_text`` and ``embed_image``.
        """
        model = ModelName(name, library, pretrained)
        fields = vector_fields(normalize, n_dims, output_dtype, extra)
        if text is None and image is None:  # for the server to refuse
            answer = self._send(route_call("embed", types.EmbedAnswer, model, fields, request_id=request_id))
            return BothEmbeddings(
                # Strings only if ``extra`` requests another encoding of the numbers.
                text_embeddings=cast("Rows | None", answer.text_embeddings),
                image_embeddings=cast("Rows | None", answer.image_embeddings),
                processing_time_ms=answer.processing_time_ms,
            )
        shrinker = self._shrink(model, shrink and image is not None)
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            skip_none=skip_none,
            request_id=request_id,
            progress=progress,
            retries=retries,
        )
        text_job = image_job = None
        if text is not None:
            texts = texts_of(text)
            of_texts = text_fields(prompt, prompt_name, input_type, truncate, token_counts)
            text_options = replace(options, may_be_raw=not token_counts)
            calls = text_calls("embed_text", model, texts, of_texts | fields, text_options, self._options.batch_size)
            text_job = RowsJob(calls, texts, "texts", text_options, embeddings_of)
        if image is not None:
            pictures = pictures_of(image)
            of_images = {**fields, "imageDownloadHeaders": image_download_headers}
            calls = picture_calls("embed_image", model, pictures, of_images, options, shrinker)
            image_job = RowsJob(calls, pictures, "pictures", options, embeddings_of)
        return self._run(PairJob(text_job, image_job, both_of))
