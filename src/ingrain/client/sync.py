"""The client for programs without an event loop. Written by `make docs` from ``aio.py``; change that one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

from ingrain.api import types
from ingrain.api.routes import Plane
from ingrain.api.tuning import ModelTuningAnswer
from ingrain.client.answers import BothEmbeddings, Embeddings, Probabilities, ZeroShotProbabilities
from ingrain.client.builder import (
    Extra,
    How,
    InputType,
    Look,
    OutputDtype,
    RequestBuilder,
    Which,
    Words,
    embeddings_of,
)
from ingrain.client.items import Texts
from ingrain.client.jobs import Job
from ingrain.client.options import make_options
from ingrain.client.pictures import Pictures
from ingrain.client.retry import RetryPolicy
from ingrain.client.sync_transport import SyncTransport
from ingrain.repository.manifest import ImageStep
from ingrain.vocabulary import Library, Precision, Task

R = TypeVar("R")


class Client:
    """A client of both planes of an Ingrain server.

    It keeps connections open, tries again what may succeed, cuts long lists into requests that are sent side by side,
    and raises the server's errors as the classes that they are there (``ingrain.ModelNotLoadedError``).

    Args:
        inference_server_url: Address of the inference plane. Default: INGRAIN_INFERENCE_URL, else port 8686 here.
        model_server_url: Address of the model plane. Default: INGRAIN_MODEL_URL, else port 8687 here.
        timeout: Seconds that an answer may take.
        load_timeout: Seconds that an answer may take where a model is loaded, and perhaps converted first.
        return_numpy: True for vectors as float32 arrays, carried as raw numbers; else they are lists of floats.
        api_key: Key for both planes. Default: INGRAIN_API_KEY.
        model_api_key: Key for the model plane, where it has its own. Default: INGRAIN_MODEL_API_KEY, else ``api_key``.
        headers: Further headers of every request.
        concurrency: Requests that are on their way at once, of all calls that take several; a call of one never waits.
        batch_size: Most texts in one request.
        retry: Which failures are tried again, and when.
        verify: What certificates of https addresses are checked with: True for the system's, or a context of your own.
        match_request_ids: False where a proxy replaces ``X-Request-Id``; else an answer that bears another id than its
            request is not believed. Default: INGRAIN_MATCH_REQUEST_IDS, else True.

    Raises:
        SettingsError: An argument, or a variable of the environment, cannot be used.
    """

    def __init__(
        self,
        inference_server_url: str | None = None,
        model_server_url: str | None = None,
        *,
        timeout: float = 120.0,
        load_timeout: float = 3600.0,
        return_numpy: bool = False,
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
            load_timeout=load_timeout,
            return_numpy=return_numpy,
            api_key=api_key,
            model_api_key=model_api_key,
            headers=headers,
            concurrency=concurrency,
            batch_size=batch_size,
            retry=retry,
            verify=verify,
            match_request_ids=match_request_ids,
        )
        self._requests = RequestBuilder(options)
        self._transport = SyncTransport(options)
        self._geometries: dict[Which, list[ImageStep]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    # --- vectors -------------------------------------------------------------------------------------------------

    def embed_text(
        self,
        name: str,
        text: Texts,
        *,
        normalize: bool = True,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Embeddings:
        """Embed any number of texts.

        Args:
            name: The model; it must be loaded.
            text: One text or several: a list, a column (pandas, polars, Arrow, numpy, datasets), a generator of either
                kind, which is read as room for more requests comes up. Of none, nothing is asked, and ``[0, 0]`` comes.
            normalize: Bring each vector to unit length.
            n_dims: Keep only the first dimensions, before normalizing.
            prompt: Put before every text; empty for no prompt, not even the model's default.
            prompt_name: Name of one of the model's own prompts, to put before every text.
            input_type: ``query`` or ``document``: the model's prompt of that name, if it has one.
            truncate: False to have a text refused (``TextTooLongError``) that is longer than the model takes.
            token_counts: True to be told each text's tokens, and whether it was cut; vectors then come as JSON.
            output_dtype: ``int8``, ``uint8``, ``binary``, ``ubinary``, as sentence-transformers has them; else floats.
            skip_none: Leave out what is missing (None, NaN), instead of refusing it; ``positions`` tells what is left.
            library: Source library, where several models share a name.
            pretrained: Weight tag of an OpenCLIP model, where several are loaded.
            return_numpy: Vectors as a float32 array or as lists; None for what the client was made with.
            progress: Show a progress bar; None for one on a terminal where the call takes long.
            request_id: ``X-Request-Id``; where there are several requests, each gets a number behind it.
            extra: Further fields of the request, by the wire's names.

        Returns:
            ``embeddings`` ``[N, D]`` in the order of the texts.

        Raises:
            IngrainError: As the server's class; ``ServerUnreachableError`` where there is none.
        """
        how = How(normalize, n_dims, output_dtype, return_numpy, progress, request_id, extra, skip_none)
        words = Words(prompt, prompt_name, input_type, truncate, token_counts)
        return self._run(self._requests.embed_text(Which(name, library, pretrained), text, how, words))

    def stream_text(
        self,
        name: str,
        text: Texts,
        *,
        normalize: bool = True,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Iterator[Embeddings]:
        """Embed texts without end: yield vectors request by request, in order, and hold no more than is on its way.

        Args are those of ``embed_text``.
        """
        how = How(normalize, n_dims, output_dtype, return_numpy, None, request_id, extra, skip_none)
        words = Words(prompt, prompt_name, input_type, truncate, token_counts)
        calls = self._requests.text_calls(Which(name, library, pretrained), text, how, words)
        with closing(self._transport.each(calls)) as parts:
            for part in parts:
                yield embeddings_of(part)

    def embed_image(
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
            shrink: Do the model's own resizing before large pictures are sent; its pixels stay the very same. Needs
                Pillow here, and the model plane.
            skip_none: Leave out what is missing (None, NaN), instead of refusing it; ``positions`` tells what is left.
            library: Source library, where several models share a name.
            pretrained: Weight tag of an OpenCLIP model, where several are loaded.
            return_numpy: Vectors as a float32 array or as lists; None for what the client was made with.
            progress: Show a progress bar; None for one on a terminal where the call takes long.
            request_id: ``X-Request-Id``; where there are several requests, each gets a number behind it.
            extra: Further fields of the request, by the wire's names.

        Returns:
            ``embeddings`` ``[N, D]`` in the order of the pictures.

        Raises:
            ImageError: A picture cannot be read.
            IngrainError: As the server's class; ``ServerUnreachableError`` where there is none.
        """
        which, how = (
            Which(name, library, pretrained),
            How(normalize, n_dims, output_dtype, return_numpy, progress, request_id, extra, skip_none),
        )
        look = Look(image_download_headers, self._steps(which) if shrink else None)
        return self._run(self._requests.embed_image(which, image, how, look))

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
        """Embed pictures without end: yield vectors request by request, in order, and hold no more than is on its way.

        Args are those of ``embed_image``.
        """
        which, how = (
            Which(name, library, pretrained),
            How(normalize, n_dims, output_dtype, return_numpy, None, request_id, extra, skip_none),
        )
        look = Look(image_download_headers, self._steps(which) if shrink else None)
        with closing(self._transport.each(self._requests.image_calls(which, image, how, look))) as parts:
            for part in parts:
                yield embeddings_of(part)

    def embed(
        self,
        name: str,
        text: Texts | None = None,
        image: Pictures | None = None,
        *,
        normalize: bool = True,
        n_dims: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate: bool = True,
        token_counts: bool = False,
        output_dtype: OutputDtype | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        shrink: bool = False,
        skip_none: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> BothEmbeddings:
        """Embed texts and pictures side by side; what is not given is None in the answer.

        Args are those of ``embed_text`` and ``embed_image``.
        """
        which, how = (
            Which(name, library, pretrained),
            How(normalize, n_dims, output_dtype, return_numpy, progress, request_id, extra, skip_none),
        )
        look = Look(image_download_headers, self._steps(which) if shrink and image is not None else None)
        words = Words(prompt, prompt_name, input_type, truncate, token_counts)
        return self._run(self._requests.embed(which, text, image, how, words, look))

    def classify_image(
        self,
        name: str,
        image: Pictures,
        *,
        image_download_headers: Mapping[str, str] | None = None,
        shrink: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Probabilities:
        """Classify any number of pictures by the labels of the model (``model_classification_labels``).

        Args are those of ``embed_image``.

        Returns:
            ``probabilities`` ``[N, K]`` in the order of the labels.
        """
        which = Which(name, library, pretrained)
        how = How(True, None, None, return_numpy, progress, request_id, extra)
        look = Look(image_download_headers, self._steps(which) if shrink else None)
        return self._run(self._requests.classify_image(which, image, how, look))

    def classify_image_zero_shot(
        self,
        name: str,
        image: Pictures,
        labels: list[str],
        *,
        templates: list[str] | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        shrink: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> ZeroShotProbabilities:
        """Classify any number of pictures by labels of your own, with a model that has a text and an image tower.

        Args:
            name: The model; it must be loaded.
            image: As in ``embed_image``, and so are the other arguments.
            labels: What to choose among.
            templates: Sentences with ``{}`` for the label, whose vectors are averaged; the label itself if none.
            image_download_headers: As in ``embed_image``.
            shrink: As in ``embed_image``.
            library: As in ``embed_image``.
            pretrained: As in ``embed_image``.
            return_numpy: As in ``embed_image``.
            progress: As in ``embed_image``.
            request_id: As in ``embed_image``.
            extra: As in ``embed_image``.

        Returns:
            ``probabilities`` ``[N, K]`` in the order of ``labels``.
        """
        which = Which(name, library, pretrained)
        how = How(True, None, None, return_numpy, progress, request_id, extra)
        look = Look(image_download_headers, self._steps(which) if shrink else None)
        return self._run(self._requests.classify_zero_shot(which, image, labels, templates, how, look))

    def infer_text(self, name: str, text: Texts, **options: Any) -> Embeddings:
        """Do what ``embed_text`` does; the name that the first generation of clients had for it."""
        return self.embed_text(name, text, **options)

    def infer_image(self, name: str, image: Pictures, **options: Any) -> Embeddings:
        """Do what ``embed_image`` does; the name that the first generation of clients had for it."""
        return self.embed_image(name, image, **options)

    def infer(
        self, name: str, text: Texts | None = None, image: Pictures | None = None, **options: Any
    ) -> BothEmbeddings:
        """Do what ``embed`` does; the name that the first generation of clients had for it."""
        return self.embed(name, text, image, **options)

    # --- models --------------------------------------------------------------------------------------------------

    def model(self, name: str, library: Library | None = None, pretrained: str | None = None) -> Model:
        """Return a model that is loaded already, or will be; nothing is asked or sent."""
        return Model(self, name, library, pretrained)

    def load_model(
        self,
        name: str,
        library: Library,
        pretrained: str | None = None,
        *,
        revision: str | None = None,
        precision: Precision | None = None,
        task: Task | None = None,
    ) -> Model:
        """Load a model; where the repository lacks it, it is fetched, converted and proved first, which takes a while.

        Args:
            name: What the source library calls it.
            library: ``sentence_transformers``, ``open_clip`` or ``timm``.
            pretrained: Weight tag of an OpenCLIP model.
            revision: Branch, tag or commit on the hub.
            precision: ``fp32``, ``fp16``, ``int8`` or ``int8-safe``; a model stored in another is made anew.
            task: For timm: ``embed`` makes an embedder of a classifier's weights, ``classify`` wants a classifier; a
                model stored for the other is made anew.

        Returns:
            The model, ready.

        Raises:
            IngrainError: What stood in the way, as the server's class.
        """
        self._run(self._requests.load_model(Which(name, library, pretrained), revision, precision, task))
        return Model(self, name, library, pretrained)

    def load_sentence_transformer_model(self, name: str) -> Model:
        """Load a sentence-transformers model, as ``load_model`` does."""
        self._run(
            self._requests.load_first_generation(
                "load_sentence_transformer_model", Which(name, "sentence_transformers")
            )
        )
        return Model(self, name, "sentence_transformers")

    def load_clip_model(self, name: str, pretrained: str | None = None) -> Model:
        """Load an OpenCLIP model, as ``load_model`` does."""
        which = Which(name, "open_clip", pretrained)
        self._run(self._requests.load_first_generation("load_clip_model", which))
        return Model(self, name, "open_clip", pretrained)

    def load_timm_model(self, name: str, pretrained: str | None = None) -> Model:
        """Load a timm model, as ``load_model`` does."""
        which = Which(name, "timm", pretrained)
        self._run(self._requests.load_first_generation("load_timm_model", which))
        return Model(self, name, "timm", pretrained)

    def download_custom_model(
        self, library: Library, name: str, safetensors_url: str, **fields: object
    ) -> types.MessageAnswer:
        """Have the server fetch a model from URLs; ``load_model`` with its name and library then loads it.

        Args:
            library: Source library.
            name: What the model will be called.
            safetensors_url: The weights.
            fields: The other fields of ``POST /download_custom_model``, in snake_case or as on the wire.
        """
        body = {"library": library, "name": name, "safetensorsUrl": safetensors_url, **fields}
        return self._run(self._requests.download_custom_model(body))

    def unload_model(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.MessageAnswer:
        """Unload a model; it stays in the repository."""
        return self._run(self._requests.change("unload_model", Which(name, library, pretrained)))

    def delete_model(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.MessageAnswer:
        """Unload a model and remove it from the repository."""
        which = Which(name, library, pretrained)
        self._geometries.pop(which, None)
        return self._run(self._requests.change("delete_model", which))

    def tune_model(
        self,
        name: str,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
        seconds: float | None = None,
    ) -> ModelTuningAnswer:
        """Have the server find out how a loaded model runs fastest on its machine, and run it that way.

        It goes on when the caller goes away. Requests to the model are told to come again while its layout changes.

        Args:
            name: The model; it must be loaded.
            library: Where several models share a name.
            pretrained: Weight tag of an OpenCLIP model.
            seconds: How long it should take, as a goal and not as a limit; 30 if not given.

        Returns:
            How the model is executed now, and all that was measured.

        Raises:
            TuningInProgressError: It is being tuned already.
            TuningError: The engine failed meanwhile; the model is executed as before.
        """
        return self._run(self._requests.tune_model(Which(name, library, pretrained), seconds))

    def reset_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.MessageAnswer:
        """Have the server forget how a model was tuned there, and run it by default."""
        return self._run(self._requests.change("reset_tuning", Which(name, library, pretrained)))

    # --- questions -----------------------------------------------------------------------------------------------

    def health(self) -> types.MessageAnswer:
        """Ask whether the inference plane's process is alive."""
        return self._ask("health", types.MessageAnswer)

    def model_server_health(self) -> types.MessageAnswer:
        """Ask whether the model plane's process is alive."""
        return self._ask("health", types.MessageAnswer, plane="model")

    def loaded_models(self) -> types.LoadedModelsAnswer:
        """List the models that can be inferred."""
        return self._ask("loaded_models", types.LoadedModelsAnswer)

    def repository_models(self) -> types.RepositoryModelsAnswer:
        """List all models of the repository with their state."""
        return self._ask("repository_models", types.RepositoryModelsAnswer)

    def metrics(self) -> types.MetricsAnswer:
        """Ask for the engine's statistics."""
        return self._ask("metrics", types.MetricsAnswer)

    def model_embedding_size(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.EmbeddingSizeAnswer:
        """Ask for the width of a model's vectors."""
        which = Which(name, library, pretrained)
        return self._ask("model_embedding_size", types.EmbeddingSizeAnswer, which=which)

    def model_classification_labels(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.LabelsAnswer:
        """Ask for the names of a classifier's classes."""
        which = Which(name, library, pretrained)
        return self._ask("model_classification_labels", types.LabelsAnswer, which=which)

    def model_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> ModelTuningAnswer:
        """Ask how a model is executed, and what its tuning measured."""
        which = Which(name, library, pretrained)
        return self._ask("model_tuning", ModelTuningAnswer, which=which)

    # --- how -----------------------------------------------------------------------------------------------------

    def _steps(self, which: Which) -> list[ImageStep]:
        """Return how the model's pictures are prepared; asked once."""
        if which not in self._geometries:
            answer = self._ask("model_image_geometry", types.ImageGeometryAnswer, which=which)
            self._geometries[which] = answer.steps
        return self._geometries[which]

    def _ask(self, route: str, kind: type[R], *, plane: Plane | None = None, which: Which | None = None) -> R:
        job = self._requests.ask(route, kind, plane=plane, which=which)
        return self._run(job)

    def _run(self, job: Job[R]) -> R:
        with closing(self._transport.each(job.calls())) as parts, job:
            for part in parts:
                job.add(part)
        return job.result()


class Model:
    """One model of a server; what it is asked goes through the client that made it.

    Attributes:
        name: What the source library calls it.
        library: Source library; None where it was not said.
        pretrained: Weight tag of an OpenCLIP model.
    """

    def __init__(
        self, client: Client, name: str, library: Library | None = None, pretrained: str | None = None
    ) -> None:
        self._client = client
        self.name = name
        self.library = library
        self.pretrained = pretrained

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.library!r}, {self.pretrained!r})"

    def embed_text(self, text: Texts, **options: Any) -> Embeddings:
        """Embed texts; ``options`` are those of the client's ``embed_text``."""
        return self._client.embed_text(self.name, text, **self._which(), **options)

    def embed_image(self, image: Pictures, **options: Any) -> Embeddings:
        """Embed pictures; ``options`` are those of the client's ``embed_image``."""
        return self._client.embed_image(self.name, image, **self._which(), **options)

    def embed(self, text: Texts | None = None, image: Pictures | None = None, **options: Any) -> BothEmbeddings:
        """Embed texts and pictures; ``options`` are those of the client's ``embed``."""
        return self._client.embed(self.name, text, image, **self._which(), **options)

    def classify_image(self, image: Pictures, **options: Any) -> Probabilities:
        """Classify pictures; ``options`` are those of the client's ``classify_image``."""
        return self._client.classify_image(self.name, image, **self._which(), **options)

    def classify_image_zero_shot(self, image: Pictures, labels: list[str], **options: Any) -> ZeroShotProbabilities:
        """Classify pictures by your labels; ``options`` are those of the client's ``classify_image_zero_shot``."""
        return self._client.classify_image_zero_shot(self.name, image, labels, **self._which(), **options)

    def infer_text(self, text: Texts, **options: Any) -> Embeddings:
        """Do what ``embed_text`` does."""
        return self.embed_text(text, **options)

    def infer_image(self, image: Pictures, **options: Any) -> Embeddings:
        """Do what ``embed_image`` does."""
        return self.embed_image(image, **options)

    def infer(self, text: Texts | None = None, image: Pictures | None = None, **options: Any) -> BothEmbeddings:
        """Do what ``embed`` does."""
        return self.embed(text, image, **options)

    def load(self) -> types.MessageAnswer:
        """Load the model, again after an ``unload``; without a library it is taken for a sentence-transformers one."""
        which = Which(self.name, self.library or "sentence_transformers", self.pretrained)
        return self._client._run(self._client._requests.load_model(which))

    def unload(self) -> types.MessageAnswer:
        """Unload the model; it stays in the repository."""
        return self._client.unload_model(self.name, **self._which())

    def delete(self) -> types.MessageAnswer:
        """Unload the model and remove it from the repository."""
        return self._client.delete_model(self.name, **self._which())

    def embedding_size(self) -> int:
        """Ask for the width of the model's vectors."""
        return (self._client.model_embedding_size(self.name, **self._which())).embedding_size

    def classification_labels(self) -> list[str]:
        """Ask for the names of the classifier's classes."""
        return (self._client.model_classification_labels(self.name, **self._which())).labels

    def _which(self) -> dict[str, Any]:
        return {"library": self.library, "pretrained": self.pretrained}
