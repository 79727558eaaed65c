"""Finds environment variables that look like settings and are none, such as misspelled ones."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

from ingrain.settings.load import describe

_PREFIX = "INGRAIN_"
# Read by the client, the command line or the conversion, which have no settings.
_OF_OTHERS = frozenset(
    (
        "INGRAIN_API_KEY",
        "INGRAIN_EXPORT_THREADS",
        "INGRAIN_INFERENCE_URL",
        "INGRAIN_MATCH_REQUEST_IDS",
        "INGRAIN_MODEL_API_KEY",
        "INGRAIN_MODEL_URL",
    )
)
# Kubernetes sets these in each pod, for every service whose name begins with "ingrain".
_OF_KUBERNETES = re.compile(r"INGRAIN_(.*_)?(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each variable that begins with ``INGRAIN_`` and is none of Ingrain's.

    Args:
        environ: Environment variables; None for those of the process.
    """
    environ = os.environ if environ is None else environ
    settings = [info.env for info in describe()]
    # Some established names have no prefix, and are easily given one.
    meant = {name.removeprefix(_PREFIX): name for name in settings}
    found = []
    for name, value in sorted(environ.items()):
        if not name.startswith(_PREFIX) or name in settings or name in _OF_OTHERS or _is_of_kubernetes(name, value):
            continue
        close = difflib.get_close_matches(name.removeprefix(_PREFIX), meant, n=1)
        cure = f"Did you mean {meant[close[0]]}?" if close else "`ingrain serve --help` lists the settings."
        found.append(f"The environment has {name}, which is no setting and has no effect. {cure}")
    return found


def _is_of_kubernetes(name: str, value: str) -> bool:
    return _OF_KUBERNETES.fullmatch(name) is not None or (name.endswith("_PORT") and _ADDRESS.match(value) is not None)
