"""Defines the settings: environment variable, flag, default and meaning; some are in modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from ingrain.engine.table import ENGINES
from ingrain.settings.kinds import NotNegative, Positive, Seconds, setting
from ingrain.settings.telemetry_fields import TelemetrySettings
from ingrain.vocabulary import Precision


class Settings(TelemetrySettings, frozen=True, kw_only=True):
    """Settings of the server. A flag overrides the environment variable, which overrides the default."""

    models: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_MODELS",
            "Models to load at start, separated by commas: `name`, `name@revision` or `library:name@revision`. "
            "For OpenCLIP the `pretrained` tag follows `@`. Append a precision with `#`, such as `#int8`.",
        ),
    ] = ()
    precision: Annotated[
        Precision | None,
        setting(
            "INGRAIN_PRECISION",
            "Precision of models that are loaded without one, including stored models; `fp16` is for GPUs, `int8` and "
            "`int8-safe` are for text encoders on CPUs. Not set: the stored precision, fp32 for new models.",
        ),
    ] = None
    engine: Annotated[
        str,
        setting(
            "INGRAIN_ENGINE",
            "Engine that runs the graphs. `auto`: the Triton at TRITON_GRPC_URL if set, else the embedded Triton, else "
            "ONNX Runtime in this process.",
            shown=("auto", *ENGINES),
        ),
    ] = "auto"
    triton_grpc_url: Annotated[
        str | None,
        setting(
            "TRITON_GRPC_URL",
            "`host:port` of a running Triton's gRPC service. For several Tritons their addresses, separated by commas, "
            "or a name that has all of their addresses; it is looked up every five seconds.",
        ),
    ] = None
    model_replicas: Annotated[
        NotNegative,
        setting(
            "INGRAIN_MODEL_REPLICAS",
            "Number of Tritons that load each model, if TRITON_GRPC_URL stands for several; 0: all of them.",
        ),
    ] = 0
    triton_backend: Annotated[
        Literal["onnxruntime", "python"],
        setting(
            "INGRAIN_TRITON_BACKEND",
            "Backend of graphs in the Triton at TRITON_GRPC_URL. `python` needs the onnxruntime package there.",
        ),
    ] = "onnxruntime"
    max_batch_size: Annotated[
        NotNegative,
        setting(
            "MAX_BATCH_SIZE",
            "Maximum items in one batch; 0: the tuned value, or without a tuning 64 on a GPU of this machine and 32 "
            "elsewhere.",
        ),
    ] = 0
    max_batch_tokens: Annotated[
        NotNegative,
        setting(
            "INGRAIN_MAX_BATCH_TOKENS",
            "Maximum tokens in one batch, padding at its cost; 0: the tuned value, or without a tuning 512 on this "
            "machine's CPU (larger batches are slower) and 4096 elsewhere.",
        ),
    ] = 0
    dynamic_batching: Annotated[
        bool, setting("DYNAMIC_BATCHING", "Let Triton merge batches from several front ends.")
    ] = True
    instance_kind: Annotated[
        Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"],
        setting("INSTANCE_KIND", "Device on which graphs run. KIND_AUTO: the GPU if one can be used, else the CPU."),
    ] = "KIND_AUTO"
    model_instances: Annotated[
        NotNegative,
        setting(
            "MODEL_INSTANCES",
            "Batches of a graph that run at the same time, on each GPU if there are several; 0: the tuned value, or "
            "without a tuning one per core on this machine's CPU, one per core (at most four) with "
            "INSTANCE_KIND=KIND_CPU in a Triton at TRITON_GRPC_URL, and one elsewhere. On this machine's CPU batches "
            "of one thread share one copy of the weights; elsewhere, and with more threads, each has its own.",
        ),
    ] = 0
    threads_per_instance: Annotated[
        NotNegative,
        setting(
            "INGRAIN_THREADS_PER_INSTANCE",
            "CPU threads of one batch; 0: the tuned value, or without a tuning the cores divided by the batches that "
            "run at the same time, and one on a GPU of this machine.",
        ),
    ] = 0
    lone_request_threads: Annotated[
        NotNegative,
        setting(
            "INGRAIN_LONE_REQUEST_THREADS",
            "CPU threads for a batch that runs alone in the engine, used if they measure faster than those of "
            "any other batch. Graphs of up to 256 MiB then hold their weights twice. 0: all cores if graphs run on "
            "this machine's CPU; 1: off.",
        ),
    ] = 0
    tune_at_load: Annotated[
        bool,
        setting(
            "INGRAIN_TUNE_AT_LOAD",
            "Tune a model when it is first loaded on this machine. This takes half a minute once; the result is stored "
            "in the model's manifest.",
        ),
    ] = False
    tensorrt_enabled: Annotated[bool, setting("TENSORRT_ENABLED", "Run graphs through TensorRT (GPU only).")] = False
    fp16_enabled: Annotated[bool, setting("FP16_ENABLED", "Let TensorRT compute in half precision.")] = False
    max_loaded_models: Annotated[
        NotNegative, setting("MAX_LOADED_MODELS", "Maximum number of loaded models; 0: no limit.")
    ] = 0
    max_body_bytes: Annotated[
        Positive,
        setting(
            "INGRAIN_MAX_BODY_BYTES",
            "Maximum size of a request body in bytes, except on routes that take images. A body in gzip format is "
            "measured without its compression.",
        ),
    ] = 16 * 1024 * 1024
    max_image_body_bytes: Annotated[
        Positive,
        setting("INGRAIN_MAX_IMAGE_BODY_BYTES", "Maximum size of a request body in bytes, on routes that take images."),
    ] = 64 * 1024 * 1024
    max_bodies_bytes: Annotated[
        Positive,
        setting(
            "INGRAIN_MAX_BODIES_BYTES",
            "Maximum bytes of all request bodies that are held at the same time; further ones get 429.",
        ),
    ] = 512 * 1024 * 1024
    max_header_bytes: Annotated[
        Positive, setting("INGRAIN_MAX_HEADER_BYTES", "Maximum size of request line and headers in bytes.")
    ] = 65_536
    max_items: Annotated[Positive, setting("INGRAIN_MAX_ITEMS", "Maximum texts and images in one request.")] = 10_000
    openai_max_items: Annotated[
        Positive,
        setting(
            "INGRAIN_OPENAI_MAX_ITEMS",
            "Maximum items in one request to /v1/embeddings; the default is OpenAI's limit. INGRAIN_MAX_ITEMS also "
            "applies.",
        ),
    ] = 2048
    openai_token_ids: Annotated[
        Literal["cl100k_base", "own", "refuse"],
        setting(
            "INGRAIN_OPENAI_TOKEN_IDS",
            "Encoding of token ids in /v1/embeddings requests without `token_encoding`. `cl100k_base`: OpenAI's "
            "encoding, decoded to text; `own`: the model's own tokenizer; `refuse`: reject such requests.",
        ),
    ] = "cl100k_base"  # noqa: S105 - an encoding, no password
    max_text_chars: Annotated[
        Positive, setting("INGRAIN_MAX_TEXT_CHARS", "Maximum length of a text in characters.")
    ] = 200_000
    max_answer_bytes: Annotated[
        Positive,
        setting(
            "INGRAIN_MAX_ANSWER_BYTES",
            "Maximum bytes of the vectors of tokens (float32) in one answer of /embed_multi_vector or /embed_tokens.",
        ),
    ] = 64 * 1024 * 1024
    max_queue_tokens: Annotated[
        Positive,
        setting("INGRAIN_MAX_QUEUE_TOKENS", "Maximum tokens that wait for one graph; requests beyond it get 429."),
    ] = 1_000_000
    cache_bytes: Annotated[
        NotNegative,
        setting(
            "INGRAIN_CACHE_BYTES",
            "Maximum bytes for the vectors of texts that are kept in memory, for all models together; a text that "
            "comes again is then not computed again (docs/cache.md). 0: no cache.",
        ),
    ] = 64 * 1024 * 1024
    max_requests: Annotated[
        Positive, setting("INGRAIN_MAX_REQUESTS", "Maximum inference requests in progress; further ones get 429.")
    ] = 2048
    max_operations: Annotated[
        Positive,
        setting(
            "INGRAIN_MAX_OPERATIONS",
            "Maximum loads in progress that one API key has begun; further ones get 429. Keys without names have the "
            "limit in common.",
        ),
    ] = 64
    request_timeout_s: Annotated[
        Seconds,
        setting(
            "INGRAIN_REQUEST_TIMEOUT_S",
            "Seconds after which an inference request gets 504; also the time in which any request must arrive.",
        ),
    ] = 60.0
    load_timeout_s: Annotated[
        Seconds, setting("INGRAIN_LOAD_TIMEOUT_S", "Seconds that the engine may take to load one graph.")
    ] = 600.0
    export_timeout_s: Annotated[
        Seconds,
        setting(
            "INGRAIN_EXPORT_TIMEOUT_S",
            "Seconds that export and verification of a model may take, not counting the download.",
        ),
    ] = 1800.0
    export_memory: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        setting(
            "INGRAIN_EXPORT_MEMORY",
            "Share of the machine's memory, or of the container's if that has less, that an export may use; one that "
            "needs more is ended.",
        ),
    ] = 0.8
    shutdown_timeout_s: Annotated[
        Seconds,
        setting("INGRAIN_SHUTDOWN_TIMEOUT_S", "Seconds that running requests have to finish when the server stops."),
    ] = 20.0
    trust_remote_code: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9._/*?\[\]!-]+(@[0-9a-f]{40})?$")], ...],
        setting(
            "INGRAIN_TRUST_REMOTE_CODE",
            "Hub repositories whose Python code may run during an export, separated by commas. `*` matches any part "
            "of a name (`nomic-ai/*,Alibaba-NLP/new-impl`); append `@` and a commit to allow only that commit. `true`: "
            "all repositories, `false`: none.",
            switch="*",
        ),
    ] = ()
    pickled_weights: Annotated[
        Literal["allow", "refuse"],
        setting(
            "INGRAIN_PICKLED_WEIGHTS",
            "Whether to export a model that only has pickled weights (`pytorch_model.bin`). The pickle is read as data "
            "and never executed; one that contains anything but tensors is rejected.",
        ),
    ] = "allow"
    hf_token: Annotated[
        str | None, setting("HF_TOKEN", "Token for gated and private models on the hub.", secret=True)
    ] = None
    api_keys: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_API_KEYS",
            "API keys, separated by commas: `key` (all scopes) or `key:scope+scope` with scopes `infer`, `models`, "
            "`metrics`. Once there is a key, all routes but those for health and readiness need one.",
            secret=True,
        ),
    ] = ()
    api_keys_file: Annotated[
        Path | None, setting("INGRAIN_API_KEYS_FILE", "File with one key per line, in the format of INGRAIN_API_KEYS.")
    ] = None
    keys_file: Annotated[
        Path | None,
        setting("INGRAIN_KEYS_FILE", "File of `ingrain keys` (docs/keys.md); it is read again when it changes."),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_ALLOWED_HOSTS",
            "Further host names, separated by commas, under which clients address the server; `*`: any. On the "
            "loopback interface without TLS only `localhost`, `127.0.0.1` and `::1` are accepted otherwise, on other "
            "addresses any name.",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_CORS_ORIGINS",
            "Origins, such as `https://app.example.com`, separated by commas, whose pages may send requests from a "
            "browser and read the responses; `*`: all. Without it only pages of the server's own origin may.",
        ),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], setting("INGRAIN_LOG_LEVEL", "Minimum level of log messages.")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], setting("INGRAIN_LOG_FORMAT", "Format of the log.")] = "text"
    image_fetch: Annotated[
        Literal["off", "allowlist", "public"],
        setting(
            "INGRAIN_IMAGE_FETCH",
            "Which URLs of images and custom models the server may fetch: none, those on INGRAIN_FETCH_HOSTS, or any "
            "public one. Private addresses are never fetched. Data URIs and base64 always work.",
        ),
    ] = "public"
    fetch_hosts: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_FETCH_HOSTS",
            "Hosts for INGRAIN_IMAGE_FETCH=allowlist, separated by commas; `*.example.com` matches all subdomains of "
            "`example.com`.",
        ),
    ] = ()
    fetch_allow: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_FETCH_ALLOW",
            "`host:port` pairs with private addresses that may be fetched, separated by commas.",
        ),
    ] = ()
    fetch_timeout_s: Annotated[
        Seconds, setting("INGRAIN_FETCH_TIMEOUT_S", "Seconds that fetching one image may take, including redirects.")
    ] = 10.0
    fetch_ca_file: Annotated[
        Path | None,
        setting(
            "INGRAIN_FETCH_CA_FILE",
            "PEM file with certificate authorities of your own, trusted besides the public ones when URLs of images "
            "and custom models are fetched.",
        ),
    ] = None
    max_fetches: Annotated[Positive, setting("INGRAIN_MAX_FETCHES", "Maximum concurrent fetches of all requests.")] = 64
    max_fetches_per_request: Annotated[
        Positive, setting("INGRAIN_MAX_FETCHES_PER_REQUEST", "Maximum image URLs in one request.")
    ] = 256
    max_download_bytes: Annotated[
        Positive, setting("INGRAIN_MAX_DOWNLOAD_BYTES", "Maximum size of a custom model's weights in bytes.")
    ] = 10 * 1024**3
    download_timeout_s: Annotated[
        Seconds, setting("INGRAIN_DOWNLOAD_TIMEOUT_S", "Seconds that fetching all files of a custom model may take.")
    ] = 1800.0
    max_image_bytes: Annotated[
        Positive, setting("INGRAIN_MAX_IMAGE_BYTES", "Maximum size of an image file in bytes, fetched or sent.")
    ] = 20 * 1024 * 1024
    max_image_pixels: Annotated[
        Annotated[int, Meta(ge=1, le=178_000_000)],
        setting("INGRAIN_MAX_IMAGE_PIXELS", "Maximum pixels (width times height) of an image."),
    ] = 25_000_000
    dialects: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_DIALECTS",
            "APIs to serve beside Ingrain's own, separated by commas, such as `openai,tei`; `all`, or `none`.",
        ),
    ] = ("all",)
    default_models: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_DEFAULT_MODELS",
            "Names of models for requests that name none, as some APIs allow, separated by commas: the first loaded "
            "one that can do the task. Without any, such a request gets the only loaded model that can.",
        ),
    ] = ()
    model_aliases: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_MODEL_ALIASES",
            "Further names of models in requests, as `alias=model` separated by commas, for tools with fixed model "
            "names: `text-embedding-3-small=sentence-transformers/all-MiniLM-L6-v2`. A model that is loaded under the "
            "alias itself comes first.",
        ),
    ] = ()
    extensions: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_EXTENSIONS",
            "Python modules, separated by commas, that add engines, routes or APIs to the server (docs/extending.md). "
            "Their code runs in the server's processes.",
        ),
    ] = ()
    image_threads: Annotated[
        NotNegative, setting("INGRAIN_IMAGE_THREADS", "Threads that decode and resize images; 0: one per core.")
    ] = 0
    text_threads: Annotated[
        NotNegative,
        setting(
            "INGRAIN_TEXT_THREADS",
            "Threads that tokenize long and many texts, in turns for all requests; 0: half of the cores.",
        ),
    ] = 0
