"""The client of both planes, put together of its groups of methods."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ingrain.client.aio.classify_image import ClassifyImage
from ingrain.client.aio.embed_both import EmbedBoth
from ingrain.client.aio.embed_image import EmbedImage
from ingrain.client.aio.embed_sparse import EmbedSparse
from ingrain.client.aio.embed_text import EmbedText
from ingrain.client.aio.embed_tokens import EmbedTokens
from ingrain.client.aio.first_generation import FirstGeneration
from ingrain.client.aio.models import Models
from ingrain.client.aio.operations import Operations
from ingrain.client.aio.score_text import ScoreText
from ingrain.client.aio.server import Server
from ingrain.client.aio.tuning import Tuning
from ingrain.client.aio.zero_shot import ClassifyImageZeroShot
from ingrain.client.first_generation import headers_of, sent_by
from ingrain.client.options import make_options
from ingrain.client.retry import RetryPolicy


class AsyncClient(
    FirstGeneration,
    EmbedText,
    EmbedSparse,
    EmbedTokens,
    EmbedImage,
    EmbedBoth,
    ClassifyImage,
    ClassifyImageZeroShot,
    ScoreText,
    Models,
    Operations,
    Tuning,
    Server,
):
    """A client of both planes of an Ingrain server.

    It keeps connections open, retries failures that may pass, splits long lists into concurrent requests, and raises
    the server's errors as the same classes (``ingrain.ModelNotLoadedError``).

    Args:
        inference_server_url: Address of the inference plane. Default: INGRAIN_INFERENCE_URL, else port 8686 here.
        model_server_url: Address of the model plane. Default: INGRAIN_MODEL_URL, else port 8687 here.
        timeout: Timeout of a response in seconds.
        connect_timeout: Timeout of a connection in seconds, at most ``timeout``.
        header: Deprecated: further headers as lines (``Name: value``); use ``headers``.
        user_agent: Deprecated: the header ``User-Agent``; use ``headers``.
        load_timeout: Timeout in seconds for loading a model, which may include its conversion.
        return_numpy: True for vectors as float32 arrays, sent as raw numbers; False for lists of floats.
        api_key: Key for both planes. Default: INGRAIN_API_KEY.
        model_api_key: Key for the model plane, where it has its own. Default: INGRAIN_MODEL_API_KEY, else ``api_key``.
        headers: Further headers of every request.
        concurrency: Concurrent requests of all calls with several requests; a call with one request never waits.
        batch_size: Largest number of texts in one request.
        retry: Which failures are retried, and when.
        verify: Certificate check of https addresses: True for the system's certificates, or an SSL context.
        match_request_ids: True to discard a response whose id differs from the request's; False if a proxy replaces
            ``X-Request-Id``. Default: INGRAIN_MATCH_REQUEST_IDS, else True.

    Raises:
        SettingsError: An argument or an environment variable is invalid.
    """

    def __init__(
        self,
        inference_server_url: str | None = None,
        model_server_url: str | None = None,
        timeout: float = 120.0,
        connect_timeout: float = 10.0,
        header: Sequence[str] | None = None,
        user_agent: str | None = None,
        return_numpy: bool = False,
        *,
        load_timeout: float = 3600.0,
        api_key: str | None = None,
        model_api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        concurrency: int = 8,
        batch_size: int = 64,
        retry: RetryPolicy | None = None,
        verify: ssl.SSLContext | bool = True,
        match_request_ids: bool | None = None,
    ) -> None:
        options = make_options(
            inference_server_url=inference_server_url,
            model_server_url=model_server_url,
            timeout=timeout,
            connect_timeout=connect_timeout,
            load_timeout=load_timeout,
            return_numpy=return_numpy,
            api_key=api_key,
            model_api_key=model_api_key,
            headers={**headers_of(header), **sent_by(user_agent), **(headers or {})},
            concurrency=concurrency,
            batch_size=batch_size,
            retry=retry,
            verify=verify,
            match_request_ids=match_request_ids,
        )
        super().__init__(options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()
