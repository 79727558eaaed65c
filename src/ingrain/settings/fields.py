"""Defines every setting: its environment variable, flag, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.engine.table import ENGINES
from ingrain.vocabulary import Precision

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]


def _setting(
    env: str, description: str, *, secret: bool = False, switch: str = "", shown: tuple[str, ...] = ()
) -> Meta:
    """Describe a setting.

    Args:
        env: Its environment variable.
        description: What it means.
        secret: True to hide its value in messages.
        switch: What a list holds where it is ``true``, for lists that may be switches too.
        shown: Values that help and reference pages list, where an extension may add others.
    """
    return Meta(description=description, extra={"env": env, "secret": secret, "switch": switch, "shown": shown})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides. A flag wins over the environment, which wins over the default."""

    host: Annotated[str, _setting("INGRAIN_HOST", "Address that both planes listen on.")] = "127.0.0.1"
    inference_port: Annotated[Port, _setting("INGRAIN_INFERENCE_PORT", "Port of the inference plane.")] = 8686
    model_port: Annotated[Port, _setting("INGRAIN_MODEL_PORT", "Port of the model plane.")] = 8687
    tls_cert_file: Annotated[
        Path | None,
        _setting(
            "INGRAIN_TLS_CERT_FILE",
            "PEM file with the certificate chain that both planes are served with over TLS (https); read again when it "
            "changes. Needs INGRAIN_TLS_KEY_FILE.",
        ),
    ] = None
    tls_key_file: Annotated[
        Path | None,
        _setting("INGRAIN_TLS_KEY_FILE", "PEM file with the unencrypted private key of INGRAIN_TLS_CERT_FILE."),
    ] = None
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=256)],
        _setting(
            "INGRAIN_WORKERS",
            "Processes that serve the inference plane on its one port, with one engine behind them; 1: the server's "
            "own process does. Limits of queues, requests and fetches are divided among them.",
        ),
    ] = 1
    repository: Annotated[
        Path, _setting("INGRAIN_REPOSITORY", "Folder of the model repository; Triton's part of it is `triton/`.")
    ] = Path("~/.local/share/ingrain")
    local_models_dir: Annotated[
        Path | None,
        _setting("INGRAIN_LOCAL_MODELS_DIR", "Folder whose sub-folders are models, looked up before the hub."),
    ] = None
    models: Annotated[
        tuple[str, ...],
        _setting(
            "INGRAIN_MODELS",
            "Models to load at start, separated by commas: `name`, `name@revision` or `library:name@revision`; "
            "for OpenCLIP what follows `@` is the `pretrained` tag. `#int8` behind it names a precision.",
        ),
    ] = ()
    precision: Annotated[
        Precision | None,
        _setting(
            "INGRAIN_PRECISION",
            "Precision of models for which none is named, stored ones included; `fp16` is for GPUs, `int8` and "
            "`int8-safe` are for text encoders on CPUs. Not given: stored models as they are, new ones in fp32.",
        ),
    ] = None
    engine: Annotated[
        str,
        _setting(
            "INGRAIN_ENGINE",
            "What runs the graphs. `auto`: the Triton at TRITON_GRPC_URL if that is set, else the embedded Triton, "
            "else ONNX Runtime in this process.",
            shown=("auto", *ENGINES),
        ),
    ] = "auto"
    triton_grpc_url: Annotated[
        str | None, _setting("TRITON_GRPC_URL", "`host:port` of a running Triton's gRPC service.")
    ] = None
    triton_backend: Annotated[
        Literal["onnxruntime", "python"],
        _setting(
            "INGRAIN_TRITON_BACKEND",
            "Backend that graphs use in the Triton at TRITON_GRPC_URL. `python` needs the onnxruntime package there.",
        ),
    ] = "onnxruntime"
    max_batch_size: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting(
            "MAX_BATCH_SIZE",
            "Most items in one batch of the engine; 0: what a tuning has found, else 64 on a GPU of this machine, 32 "
            "elsewhere.",
        ),
    ] = 0
    max_batch_tokens: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting(
            "INGRAIN_MAX_BATCH_TOKENS",
            "Most tokens in one batch, padding included; 0: what a tuning has found, else 512 where graphs run on this "
            "machine's CPU, which larger batches only slow down, else 4096.",
        ),
    ] = 0
    dynamic_batching: Annotated[
        bool, _setting("DYNAMIC_BATCHING", "Let Triton merge batches of several front ends.")
    ] = True
    instance_kind: Annotated[
        Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"],
        _setting(
            "INSTANCE_KIND",
            "Where graphs run. KIND_AUTO: on the GPU if there is one that can be used, else on the CPU.",
        ),
    ] = "KIND_AUTO"
    model_instances: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting(
            "MODEL_INSTANCES",
            "Copies of a graph that run side by side, of several GPUs on each; 0: what a tuning has found, else one a "
            "core (four at most) where the engine is on this machine's CPU, else one.",
        ),
    ] = 0
    threads_per_instance: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting(
            "INGRAIN_THREADS_PER_INSTANCE",
            "CPU threads of one copy; 0: what a tuning has found, else the cores divided by the copies, and one where "
            "it runs on a GPU of this machine.",
        ),
    ] = 0
    lone_request_threads: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting(
            "INGRAIN_LONE_REQUEST_THREADS",
            "CPU threads of a batch that finds the engine idle, where more prove faster than those of one copy; each "
            "copy of a graph of up to 256 MiB holds its weights twice for it. 0: all cores, where graphs run on this "
            "machine's CPU; 1: off.",
        ),
    ] = 0
    tune_at_load: Annotated[
        bool,
        _setting(
            "INGRAIN_TUNE_AT_LOAD",
            "Find out, when a model is loaded for the first time on this machine, how it runs fastest here: half a "
            "minute once, kept in the model's manifest.",
        ),
    ] = False
    tensorrt_enabled: Annotated[bool, _setting("TENSORRT_ENABLED", "Run graphs through TensorRT (GPU only).")] = False
    fp16_enabled: Annotated[bool, _setting("FP16_ENABLED", "Let TensorRT compute in half precision.")] = False
    max_loaded_models: Annotated[
        Annotated[int, Meta(ge=0)], _setting("MAX_LOADED_MODELS", "Most models loaded at once; 0: no limit.")
    ] = 0
    max_body_bytes: Annotated[Positive, _setting("INGRAIN_MAX_BODY_BYTES", "Largest request body in bytes.")] = (
        64 * 1024 * 1024
    )
    max_header_bytes: Annotated[
        Positive, _setting("INGRAIN_MAX_HEADER_BYTES", "Longest request line and headers in bytes.")
    ] = 65_536
    max_items: Annotated[Positive, _setting("INGRAIN_MAX_ITEMS", "Most texts and images in one request.")] = 10_000
    openai_max_items: Annotated[
        Positive,
        _setting(
            "INGRAIN_OPENAI_MAX_ITEMS",
            "Most items in one request to /v1/embeddings, as OpenAI has it; INGRAIN_MAX_ITEMS holds there too.",
        ),
    ] = 2048
    openai_token_ids: Annotated[
        Literal["cl100k_base", "own", "refuse"],
        _setting(
            "INGRAIN_OPENAI_TOKEN_IDS",
            "What token ids sent to /v1/embeddings are, where the request does not say it by `token_encoding`: those "
            "of OpenAI's encoding, whose text is embedded; those of the model's own tokenizer; or refused.",
        ),
    ] = "cl100k_base"  # noqa: S105 - an encoding, no password
    max_text_chars: Annotated[Positive, _setting("INGRAIN_MAX_TEXT_CHARS", "Longest text in characters.")] = 200_000
    max_queue_tokens: Annotated[
        Positive,
        _setting("INGRAIN_MAX_QUEUE_TOKENS", "Most tokens that wait for one graph; more is answered with 429."),
    ] = 1_000_000
    max_requests: Annotated[
        Positive, _setting("INGRAIN_MAX_REQUESTS", "Most inference requests in progress; more is answered with 429.")
    ] = 2048
    request_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting(
            "INGRAIN_REQUEST_TIMEOUT_S",
            "Seconds after which an inference request is answered with 504, and that any request may take to arrive.",
        ),
    ] = 60.0
    load_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting("INGRAIN_LOAD_TIMEOUT_S", "Seconds that the engine may take to load one graph."),
    ] = 600.0
    export_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting("INGRAIN_EXPORT_TIMEOUT_S", "Seconds that conversion and proof of a model may take, download apart."),
    ] = 1800.0
    shutdown_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting("INGRAIN_SHUTDOWN_TIMEOUT_S", "Seconds that running requests have to finish when the server stops."),
    ] = 20.0
    trust_remote_code: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9._/*?\[\]!-]+(@[0-9a-f]{40})?$")], ...],
        _setting(
            "INGRAIN_TRUST_REMOTE_CODE",
            "Whose Python code may be run while a model is converted: repositories that hold code, separated by "
            "commas, with `*` for any part of a name (`nomic-ai/*,Alibaba-NLP/new-impl`), and with `@` and a commit "
            "where only that one is meant; `true`: everybody's, `false`: nobody's.",
            switch="*",
        ),
    ] = ()
    pickled_weights: Annotated[
        Literal["allow", "refuse"],
        _setting(
            "INGRAIN_PICKLED_WEIGHTS",
            "Whether a model whose weights are there as pickle alone (`pytorch_model.bin`) is converted. They are read "
            "as data, never run, and refused where they hold anything but tensors.",
        ),
    ] = "allow"
    hf_token: Annotated[
        str | None, _setting("HF_TOKEN", "Token for gated and private models of the hub.", secret=True)
    ] = None
    offline: Annotated[bool, _setting("HF_HUB_OFFLINE", "Use only what the hub's cache on this disk holds.")] = False
    api_keys: Annotated[
        tuple[str, ...],
        _setting(
            "INGRAIN_API_KEYS",
            "Keys, separated by commas, each `key` (all scopes) or `key:scope+scope` of `infer`, `models`, `metrics`. "
            "A scope that no key names needs none.",
            secret=True,
        ),
    ] = ()
    api_keys_file: Annotated[
        Path | None, _setting("INGRAIN_API_KEYS_FILE", "File with one key a line, written as in INGRAIN_API_KEYS.")
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _setting("INGRAIN_LOG_LEVEL", "Least level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], _setting("INGRAIN_LOG_FORMAT", "Log lines for people or for machines.")
    ] = "text"
    image_fetch: Annotated[
        Literal["off", "allowlist", "public"],
        _setting(
            "INGRAIN_IMAGE_FETCH",
            "Which URLs callers may have fetched, images and custom models alike: none, those of INGRAIN_FETCH_HOSTS, "
            "or any public one. Private addresses are never fetched from. Data URIs and base64 always work.",
        ),
    ] = "public"
    fetch_hosts: Annotated[
        tuple[str, ...],
        _setting(
            "INGRAIN_FETCH_HOSTS",
            "Hosts that INGRAIN_IMAGE_FETCH=allowlist allows, separated by commas; `*.example.com` stands for "
            "all names below `example.com`.",
        ),
    ] = ()
    fetch_allow: Annotated[
        tuple[str, ...],
        _setting(
            "INGRAIN_FETCH_ALLOW",
            "`host:port` pairs, separated by commas, that may be fetched from although their address is private.",
        ),
    ] = ()
    fetch_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting("INGRAIN_FETCH_TIMEOUT_S", "Seconds that fetching one image may take, redirects included."),
    ] = 10.0
    max_fetches: Annotated[Positive, _setting("INGRAIN_MAX_FETCHES", "Most fetches at once, of all requests.")] = 64
    max_fetches_per_request: Annotated[
        Positive, _setting("INGRAIN_MAX_FETCHES_PER_REQUEST", "Most image URLs in one request.")
    ] = 256
    max_download_bytes: Annotated[
        Positive, _setting("INGRAIN_MAX_DOWNLOAD_BYTES", "Largest weights of a custom model in bytes.")
    ] = 10 * 1024**3
    download_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)],
        _setting(
            "INGRAIN_DOWNLOAD_TIMEOUT_S", "Seconds that fetching a custom model may take, all its files together."
        ),
    ] = 1800.0
    max_image_bytes: Annotated[
        Positive, _setting("INGRAIN_MAX_IMAGE_BYTES", "Largest image file in bytes, fetched or sent.")
    ] = 20 * 1024 * 1024
    max_image_pixels: Annotated[
        Annotated[int, Meta(ge=1, le=178_000_000)],
        _setting("INGRAIN_MAX_IMAGE_PIXELS", "Most pixels (width times height) of an image."),
    ] = 25_000_000
    extensions: Annotated[
        tuple[str, ...],
        _setting(
            "INGRAIN_EXTENSIONS",
            "Python modules, separated by commas, that add engines, routes or APIs to the server (docs/extending.md). "
            "Their code runs in the server's processes.",
        ),
    ] = ()
    image_threads: Annotated[
        Annotated[int, Meta(ge=0)],
        _setting("INGRAIN_IMAGE_THREADS", "Threads that decode and resize images; 0: one a core."),
    ] = 0
