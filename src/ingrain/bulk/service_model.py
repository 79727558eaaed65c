"""A model of a running Ingrain service, reached through the client."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ingrain.bulk.wanted import Found, Wanted
from ingrain.errors import RequestError

# A bulk job outlives a restart of the server.
_RETRY_WITHIN_S = 600.0
_TEXTS_A_REQUEST = 256


class ServiceModel:
    """Embeds through a service. Thread-safe.

    Args:
        wanted: The vectors to compute.
        url: Address of the inference plane.
        api_key: Key of the service; None for INGRAIN_API_KEY.
        concurrency: Requests in progress at a time.
    """

    identity = ""
    """The service alone knows which weights it has."""

    def __init__(self, wanted: Wanted, url: str, *, api_key: str | None = None, concurrency: int = 4) -> None:
        from ingrain.client import Client, RetryPolicy

        self._wanted = wanted
        self._concurrency = concurrency
        self._client = Client(
            url,
            return_numpy=True,
            api_key=api_key,
            concurrency=concurrency,
            batch_size=_TEXTS_A_REQUEST,
            retry=RetryPolicy(within_s=_RETRY_WITHIN_S, most=1000),
        )
        self._of_model: dict[str, Any] = {"library": wanted.library, "pretrained": wanted.pretrained}
        self._of_vectors: dict[str, Any] = {
            "n_dims": wanted.dimensions,
            "output_dtype": None if wanted.output_dtype == "float" else wanted.output_dtype,
        }

    def embed(self, items: Sequence[str | bytes], *, first: int = 0) -> Found:
        """Embed texts or images, as ``LocalModel.embed`` does."""
        del first
        if self._wanted.items == "texts":
            return Found(self._embed_texts(items))
        try:
            return Found(self._embed_images(items))
        except RequestError:
            if not self._wanted.skip_bad_images:
                raise
        with ThreadPoolExecutor(self._concurrency) as pool:
            rows = list(pool.map(self._embed_if_good, items))
        good = [row for row in rows if row is not None]
        return Found(good, [index for index, row in enumerate(rows) if row is None])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed_texts(self, texts: Any) -> Any:
        wanted = self._wanted
        of_texts: dict[str, Any] = {
            "prompt": wanted.prompt,
            "prompt_name": wanted.prompt_name,
            "input_type": wanted.input_type,
            "truncate": wanted.truncate,
            "progress": False,
        }
        if wanted.output == "sparse":
            return self._client.embed_sparse(
                wanted.model,
                texts,
                top_k=wanted.top_k,
                min_weight=wanted.min_weight or None,
                **of_texts,
                library=wanted.library,
                pretrained=wanted.pretrained,
            ).embeddings
        if wanted.output == "multiVector":
            return self._client.embed_multi_vector(
                wanted.model,
                texts,
                normalize=None if wanted.normalize else False,
                n_dims=wanted.dimensions,
                **of_texts,
                **self._of_model,
            ).numpy()
        return self._client.embed_text(
            wanted.model, texts, wanted.normalize, **of_texts, **self._of_vectors, **self._of_model
        ).embeddings

    def _embed_images(self, images: Any) -> Any:
        return self._client.embed_image(
            self._wanted.model, images, self._wanted.normalize, progress=False, **self._of_vectors, **self._of_model
        ).embeddings

    def _embed_if_good(self, image: Any) -> Any:
        try:
            return self._embed_images([image])[0]
        except RequestError:
            return None
