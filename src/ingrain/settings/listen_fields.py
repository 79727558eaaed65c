"""Defines the settings of ports, TLS and processes; ``Settings`` has them with all others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.settings.kinds import Port, setting


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, and with how many processes."""

    host: Annotated[str, setting("INGRAIN_HOST", "Address on which both planes listen.")] = "127.0.0.1"
    inference_port: Annotated[Port, setting("INGRAIN_INFERENCE_PORT", "Port of the inference plane.")] = 8686
    model_port: Annotated[Port, setting("INGRAIN_MODEL_PORT", "Port of the model plane.")] = 8687
    console: Annotated[
        bool,
        setting(
            "INGRAIN_CONSOLE",
            "Serve the console, a page for people, at `/ui` on the model plane, with the routes of the inference plane "
            "that it uses under `/ui/api`.",
        ),
    ] = True
    docs: Annotated[
        bool,
        setting(
            "INGRAIN_DOCS",
            "Serve the API's documentation on both planes: `/docs`, a page on which requests can be tried, and "
            "`/openapi.json`.",
        ),
    ] = True
    ollama_port: Annotated[
        Port | None,
        setting(
            "INGRAIN_OLLAMA_PORT",
            "Further port, Ollama's is 11434, on which the server is an Ollama that embeds: Ollama's routes of both "
            "planes, and OpenAI's. Not set: none.",
        ),
    ] = None
    grpc_port: Annotated[Port, setting("INGRAIN_GRPC_PORT", "Port of KServe's dialect over gRPC; 0: none.")] = 0
    tls_cert_file: Annotated[
        Path | None,
        setting(
            "INGRAIN_TLS_CERT_FILE",
            "PEM file with the certificate chain for TLS (https) on all ports; reloaded when it changes. Needs "
            "INGRAIN_TLS_KEY_FILE.",
        ),
    ] = None
    tls_key_file: Annotated[
        Path | None,
        setting("INGRAIN_TLS_KEY_FILE", "PEM file with the unencrypted private key of INGRAIN_TLS_CERT_FILE."),
    ] = None
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=256)],
        setting(
            "INGRAIN_WORKERS",
            "Number of processes that serve the inference plane on its port and share one engine; 1: the server's own "
            "process. Limits of queues, requests, fetches and the cache are divided among the processes.",
        ),
    ] = 1
