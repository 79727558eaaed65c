# Written by `make docs` from aio/embed_image.py; change that one.
"""Methods that embed images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from ingrain.client.answers import Embeddings, embeddings_of
from ingrain.client.pictures import Pictures, picture_calls, pictures_of
from ingrain.client.requests import Extra, ModelName, OutputDtype, vector_fields
from ingrain.client.rows import RowOptions, RowsJob
from ingrain.client.sync.caller import Caller
from ingrain.vocabulary import Library


class EmbedImage(Caller):
    """Embeds images."""

    def embed_image(
        self,
        name: str,
        image: Pictures = (),
        normalize: bool = True,
        n_dims: int | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        retries: int | None = None,
        *,
        output_dtype: OutputDtype | None = None,
        shrink: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Embeddings:
        """Embed any number of pictures.

        Args:
            name: The model; it must be loaded.
            image: One picture or several: URLs, data URIs, base64, paths, bytes of files, open files, Pillow images or
                uint8 arrays; of several, all that ``embed_text`` takes.
            normalize: Bring each vector to unit length.
            n_dims: Keep only the first dimensions, before normalizing.
            output_dtype: ``binary`` or ``ubinary``, one bit a dimension; else floats.
            image_download_headers: Headers that the server fetches URLs with.
            retries: Largest number of retries of each request; None for that of the client's policy.
            shrink: Apply the model's own resizing before large images are sent; the model gets exactly the same
                pixels. Needs Pillow on the client, and the model plane.
            skip_none: Skip missing items (None, NaN) instead of refusing them; ``positions`` has the others' indices.
            library: Source library, if several models share the name.
            pretrained: Weight tag of an OpenCLIP model, if several are loaded.
            return_numpy: Vectors as a float32 array or as lists; None for the client's option.
            progress: Show a progress bar; None to show one on a terminal if the call takes long.
            request_id: ``X-Request-Id``; of several requests, all but the first get a number appended.
            extra: Further fields of the request, by their JSON names.

        Returns:
            ``embeddings`` ``[N, D]`` in the order of the pictures.

        Raises:
            ImageError: A picture cannot be read.
            IngrainError: The server's error, as the same class; ``ServerUnreachableError`` without a server.
        """
        model, pictures = ModelName(name, library, pretrained), pictures_of(image)
        fields = {
            **vector_fields(normalize, n_dims, output_dtype, extra),
            "imageDownloadHeaders": image_download_headers,
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            skip_none=skip_none,
            request_id=request_id,
            progress=progress,
            retries=retries,
        )
        calls = picture_calls("embed_image", model, pictures, fields, options, self._shrink(model, shrink))
        return self._run(RowsJob(calls, pictures, "pictures", options, embeddings_of))

    def stream_image(
        self,
        name: str,
        image: Pictures,
        *,
        normalize: bool = True,
        n_dims: int | None = None,
        output_dtype: OutputDtype | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        shrink: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Iterator[Embeddings]:
        """Embed any number of images: yield vectors request by request, in order, in bounded memory.

        Args are those of ``embed_image``.
        """
        model, pictures = ModelName(name, library, pretrained), pictures_of(image)
        fields = {
            **vector_fields(normalize, n_dims, output_dtype, extra),
            "imageDownloadHeaders": image_download_headers,
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            output_dtype=output_dtype,
            skip_none=skip_none,
            request_id=request_id,
        )
        calls = picture_calls("embed_image", model, pictures, fields, options, self._shrink(model, shrink))
        with closing(self._stream(calls)) as parts:
            yield from parts
