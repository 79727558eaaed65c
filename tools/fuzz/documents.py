"""Fuzzes a plane by its OpenAPI document, with schemathesis."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fuzz.models import LIBRARIES

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
# Each of their valid cases starts a process, loads a model or measures for seconds.
_SLOW = re.compile(r"^/(load_\w+|api/pull|tune_model|reset_tuning|download_custom_model)$")
_SLOW_SHARE = 50
_LONGEST_ANSWER_S = 30


@dataclass(frozen=True)
class Outcome:
    """What a part of the fuzzing found.

    Attributes:
        cases: Number of requests.
        failure: Report for people; empty if nothing was found.
    """

    cases: int
    failure: str = ""


def fuzz_document(url: str, folder: Path, cases: int, seed: int) -> Outcome:
    """Fuzz one plane.

    Args:
        url: Address of the plane.
        folder: For files of this run.
        cases: About how many requests to send.
        seed: Seed of the cases.
    """
    document = httpx.get(f"{url}/openapi.json", timeout=30).json()
    _know_the_models(document)
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    operations = [route for route, methods in document["paths"].items() for _ in methods]
    slow = sum(1 for route in operations if _SLOW.match(route))
    each = max(1, cases // max(1, len(operations) - slow))
    phases = "examples,coverage,fuzzing"
    parts = [_run(url, path, each, seed, phases, ("--exclude-path-regex", _SLOW.pattern))]
    if slow:
        few = max(1, each // _SLOW_SHARE)
        parts.append(_run(url, path, few, seed, "fuzzing", ("--include-path-regex", _SLOW.pattern)))
    return Outcome(sum(part.cases for part in parts), "\n".join(part.failure for part in parts if part.failure))


def _know_the_models(document: dict[str, Any]) -> None:
    """Have most requests name a model that there is; otherwise nearly all would end at that."""
    names = {"enum": [*LIBRARIES, "fuzz-absent"]}
    for title, schema in document["components"]["schemas"].items():
        if title == "OllamaPullRequest":  # its answer begins before it is known whether there is such a model
            continue
        for field in ("name", "model"):
            if schema.get("title", "").endswith("Request") and field in schema.get("properties", {}):
                schema["properties"][field] |= names
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("name", "model"):
                    parameter["schema"] |= names
                    parameter.pop("example", None)
            content = operation.get("requestBody", {}).get("content", {})
            content.get("application/json", {}).pop("example", None)


def _run(url: str, document: Path, each: int, seed: int, phases: str, chosen: tuple[str, ...]) -> Outcome:
    events = document.with_suffix(".ndjson")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", url),
            *("--checks", ",".join(CHECKS), "--mode", "all", "--phases", phases),
            *("--max-examples", str(each), "--seed", str(seed), "--request-timeout", str(_LONGEST_ANSWER_S)),
            *("--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure", "--no-color"),
            *("--report", "ndjson", "--report-ndjson-path", str(events), *chosen),
        ],
        cwd=document.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    sent = re.search(r"(\d[\d,]*) generated", run.stdout)
    cases = int(sent[1].replace(",", "")) if sent else 0
    return Outcome(cases, "" if run.returncode == 0 else run.stdout[-20_000:] + run.stderr[-5_000:])
