"""Asks a child process for the configuration of a library's architecture, because serving must not import torch."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import msgspec

from ingrain.errors import ExportTimeoutError, ExportUnavailableError, InvalidRequestError
from ingrain.install_hint import install_hint
from ingrain.vocabulary import Library

_TIMEOUT_S = 180.0
_COMMAND = (sys.executable, "-P", "-m", "ingrain.export.process.architectures")
# Variables that a program needs to run; none of them is a secret.
_ENVIRONMENT = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "HF_HOME", "SYSTEMROOT")

logger = logging.getLogger("ingrain.sources")


class _Reason(msgspec.Struct):
    message: str
    param: str | None = None


class _Answer(msgspec.Struct):
    config: dict[str, Any] | None = None
    failed: _Reason | None = None


async def architecture_config(library: Library, name: str) -> dict[str, Any]:
    """Return the configuration of an architecture that OpenCLIP or timm has in its list; takes seconds.

    Raises:
        InvalidRequestError: The library has no such architecture.
        ExportUnavailableError: The library is not installed.
        ExportTimeoutError: The child process did not answer in time.
    """
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, library, name, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=_environment()
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            line, log = await process.communicate()
    except TimeoutError as error:
        raise ExportTimeoutError(
            f"Looking up the architecture {name!r} in {library} took longer than {_TIMEOUT_S:g} s."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except msgspec.MsgspecError as error:
        logger.error("Asking %s for its architectures failed:\n%s", library, log.decode("utf-8", "replace")[-4000:])
        raise ExportUnavailableError(
            f"This installation cannot look up architectures of {library}: {install_hint('export')}, or give "
            "'configJsonUrl'."
        ) from error
    if answer.failed is not None:
        raise InvalidRequestError(answer.failed.message, param=answer.failed.param)
    return answer.config or {}


def _environment() -> dict[str, str]:
    known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**known, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
