"""`ingrain embed` into a folder of part files: here, or on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingrain.cli.connect import model_of
from ingrain.cli.parsers import positive
from ingrain.errors import IngrainError, SettingsError

if TYPE_CHECKING:
    from ingrain.bulk.job import Job, Options
    from ingrain.bulk.opened import Place
    from ingrain.bulk.rows import OutputFormat
    from ingrain.bulk.wanted import Wanted

_FORMATS = ("parquet", "jsonl", "csv")
_OF_RAY = ("actors", "cpus", "gpus")
_OF_PARTS = (*_OF_RAY, "repository", "rows_per_part")
_NOT_OF_PARTS = ("text", "outputs", "tokens", "shrink")
_INFERENCE_URL = "http://127.0.0.1:8686"


def add_parts_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of jobs with part files."""
    group = parser.add_argument_group("part files", "for an output that is a folder, `DIR/`, or a URI such as s3://...")
    add = group.add_argument
    add("--ray", metavar="ADDRESS", help="compute on this Ray cluster; `auto`, or `local` to start Ray here.")
    add("--repository", metavar="DIR", help="run the model out of this repository, without a server.")
    add("--rows-per-part", type=positive, metavar="N", help="most rows of a part. Default: 20000.")
    add("--actors", type=positive, metavar="N", help="with --ray: processes that compute. Default: all that fit.")
    add("--cpus", type=positive, metavar="N", help="with --ray: cores of each. Default: 1.")
    add("--gpus", type=float, metavar="N", help="with --ray: GPUs of each, such as 0.5. Default: 0.")


def wants_parts(options: dict[str, Any]) -> bool:
    """Return whether the output is a folder of parts; with --ray, the last of FILEs may be it."""
    if options["ray"] is not None:
        if options["output"] is None and len(options["files"]) > 1:
            options["output"] = options["files"].pop()
        return True
    output = options["output"]
    return output is not None and (output.endswith("/") or "://" in output or Path(output).is_dir())


def refuse_parts_flags(options: dict[str, Any]) -> None:
    """Refuse flags that only folders of parts have.

    Raises:
        SettingsError: One is given.
    """
    if (given := next((name for name in _OF_PARTS if options[name] is not None), None)) is not None:
        raise SettingsError(f"{_flag(given)} goes with a folder as the output: -o DIR/.", param=_flag(given))


def embed_in_parts(options: dict[str, Any]) -> int:
    """Make the parts that are not there yet, and print a summary."""
    from ingrain.bulk.job import open_job

    _check(options)
    is_shown = sys.stderr.isatty() and not options["quiet"]
    started = time.monotonic()
    job = open_job(options["files"], options["output"], _options_of(options), force=options["force"])
    before = len(job.note.splits) - len(job.missing())
    rows = 0

    def tell(more: int) -> None:
        nonlocal rows
        rows += more
        bar.update(more)

    from tqdm import tqdm

    with tqdm(total=_rows_left(job), unit=f" {job.options.wanted.items}", disable=not is_shown) as bar:
        try:
            _run(job, options, tell)
        except (KeyboardInterrupt, IngrainError):
            if not options["quiet"]:
                print(
                    f"ingrain: {options['output']} has {len(job.note.splits) - len(job.missing())} of "
                    f"{len(job.note.splits)} parts; the same command continues there.",
                    file=sys.stderr,
                )
            raise
    seconds = time.monotonic() - started
    summary = {
        "output": options["output"],
        "parts": len(job.note.splits),
        "partsOfEarlierRuns": before,
        "rows": rows,
        "rowsPerSecond": round(rows / seconds, 1),
    }
    if options["json"]:
        print(json.dumps(summary, indent=2))
    elif not options["quiet"]:
        print(
            f"{rows} {job.options.wanted.items} at {rows / seconds:,.0f} per second; {options['output']} has "
            f"{len(job.note.splits)} parts.",
            file=sys.stderr,
        )
    return 0


def _run(job: Job, options: dict[str, Any], tell: Callable[[int], None]) -> None:
    place = _place_of(options)
    if options["ray"] is None:
        from ingrain.bulk.here import run_here

        run_here(job, place, tell)
        return
    from ingrain.bulk.on_ray import Actors, connected, run_on_ray

    actors = Actors(count=options["actors"], cpus=options["cpus"] or 1, gpus=options["gpus"] or 0.0)
    with connected(options["ray"]) if job.missing() else nullcontext():
        run_on_ray(job, place, actors, tell)


def _place_of(options: dict[str, Any]) -> Place:
    """Return where the model runs: with --ray or --repository it needs no server unless one is named."""
    from ingrain.bulk.opened import Place
    from ingrain.cores import usable_cores

    url, repository = options["inference_url"], options["repository"]
    if url is None and repository is None and options["ray"] is None:
        url = os.environ.get("INGRAIN_INFERENCE_URL") or _INFERENCE_URL
    threads = usable_cores() if url is None else options["concurrency"]
    key = options["api_key"] or (os.environ.get("INGRAIN_API_KEY") if url else None)
    return Place(url=url, api_key=key, repository=repository, threads=threads)


def _options_of(options: dict[str, Any]) -> Options:
    from ingrain.bulk.job import Options

    default: OutputFormat = "jsonl" if options["sparse"] or options["multi_vector"] else "parquet"
    return Options(
        wanted=_wanted_of(options),
        column=options["field"],
        input_format=options["input_format"],
        output_format=options["output_format"] or default,
        rows_a_part=options["rows_per_part"] or 20_000,
        without_input=options["without_input"],
    )


def _wanted_of(options: dict[str, Any]) -> Wanted:
    from ingrain.bulk.wanted import Wanted

    ref, library = model_of(options["model"], options["library"], options["pretrained"])
    wanted = Wanted(
        model=ref.name,
        library=library,
        pretrained=ref.pretrained,
        items="images" if options["images"] else "texts",
        output="sparse" if options["sparse"] else "multiVector" if options["multi_vector"] else "dense",
        input_type=options["input_type"],
        prompt_name=options["prompt_name"],
        prompt=options["prompt"],
        truncate=options["truncate"],
        normalize=options["normalize"],
        dimensions=options["dims"],
        top_k=options["top_k"],
        min_weight=options["min_weight"] or 0.0,
        skip_bad_images=options["skip_bad_images"],
    )
    wanted.check()
    return wanted


def _rows_left(job: Job) -> int | None:
    """Return the rows of the missing parts; None if lines have not been counted."""
    rows = 0
    for number in job.missing():
        count = job.note.splits[number].rows
        if count is None:
            return None
        rows += count
    return rows


def _check(options: dict[str, Any]) -> None:
    if not options["files"] or options["output"] is None:
        raise SettingsError("Give files or folders to embed, and a folder for the parts: -o DIR/.", param="FILE")
    if "-" in options["files"]:
        raise SettingsError("Standard input cannot be split into parts; give files.", param="FILE")
    if (given := next((name for name in _NOT_OF_PARTS if options[name]), None)) is not None:
        raise SettingsError(f"{_flag(given)} cannot be used with a folder of parts.", param=_flag(given))
    if options["ray"] is None and (given := next((name for name in _OF_RAY if options[name] is not None), None)):
        raise SettingsError(f"{_flag(given)} goes with --ray.", param=_flag(given))
    if options["output_format"] not in (None, *_FORMATS):
        raise SettingsError(f"Parts are {', '.join(_FORMATS)}.", param="--output-format")
    if options["repository"] is not None and options["inference_url"] is not None:
        raise SettingsError("Give --repository or --inference-url, not both.", param="--repository")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
