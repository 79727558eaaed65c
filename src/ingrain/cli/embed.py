"""`ingrain embed`: any number of texts or pictures to vectors in a file."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingrain.cli.connect import make_client, model_of
from ingrain.cli.embed_parts import add_parts_flags, embed_in_parts, refuse_parts_flags, wants_parts
from ingrain.cli.parsers import add_command, add_connection_flags, add_model_flags, positive
from ingrain.errors import IngrainError, SettingsError

if TYPE_CHECKING:
    from ingrain.cli.embed_outputs import OutputFormat, Writer
    from ingrain.client import Client
    from ingrain.vocabulary import Output

_EXAMPLES = """\
examples:
  ingrain embed --model all-MiniLM-L6-v2 --text "A cat sleeps." --text "Stocks fell."
  ingrain embed --model all-MiniLM-L6-v2 texts.txt -o vectors.npy
  ingrain embed --model all-MiniLM-L6-v2 news.csv --field title -o news.parquet
  ingrain embed --model ViT-B-32 --images photos/ -o photos.jsonl
  ingrain embed --model splade-v3 --sparse --top-k 128 texts.txt -o vectors.jsonl
  ingrain embed --model BAAI/bge-m3 --outputs dense,sparse texts.txt -o vectors.jsonl
  ingrain embed --model lightonai/GTE-ModernColBERT-v1 --multi-vector texts.txt -o vectors.jsonl
  ingrain embed --model all-MiniLM-L6-v2 articles/*.parquet -o vectors/
  ingrain embed --model all-MiniLM-L6-v2 --ray auto --repository /models s3://in/texts s3://out/vectors
  sort -u queries.txt | ingrain embed --model all-MiniLM-L6-v2 - > vectors.jsonl

A file is written beside the output as OUTPUT.part. After an interruption the same command continues there; with the
same server and model the result is that of one run. A folder gets a part for each piece of the input, with all its
columns; here, too, the same command continues. docs/bulk.md tells more.
"""
_INPUT_FORMATS = ("lines", "jsonl", "csv", "tsv", "parquet")
_OF_TEXTS = ("input_type", "prompt_name", "prompt")
_OUTPUTS: tuple[Output, ...] = ("dense", "sparse", "multiVector")
_OF_SPARSE = ("top_k", "min_weight", "tokens")
_OUTPUT_FORMATS = ("jsonl", "csv", "parquet", "npy")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "embed",
        "embed texts or pictures into a file",
        embed,
        description="Embed texts or pictures with a model that is loaded.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="texts: lines, JSON lines, CSV, TSV or Parquet; - for standard input.")
    add("--model", required=True, metavar="NAME", help="a model that is loaded; also `library:name@tag`.")
    add_model_flags(parser)
    add("--text", action="append", default=[], help="a text; may be given several times, instead of files.")
    add("--images", action="store_true", help="FILEs are pictures, folders of pictures, or URLs.")
    add("--shrink", action="store_true", help="shrink large pictures before they are sent; vectors stay the same.")
    add("--input-format", choices=_INPUT_FORMATS, help="how files are written. Default: by suffix, else lines.")
    add("--field", default="text", help="key or column that holds the text. Default: text.")
    add("-o", "--output", metavar="FILE", help="where to; standard output if not given. A folder for parts: `DIR/`.")
    add("--output-format", choices=_OUTPUT_FORMATS, help="Default: by the output's suffix, else jsonl.")
    add("--without-input", action="store_true", help="leave the text, or the picture's name, out of the output.")
    add("--input-type", choices=("query", "document"), help="put the model's prompt for queries or documents first.")
    add("--prompt-name", metavar="NAME", help="put the model's prompt of this name before every text.")
    add("--prompt", metavar="WORDS", help="put these words before every text; '' for not even the model's default.")
    add("--no-truncate", dest="truncate", action="store_false", help="end where a text is longer than the model takes.")
    add("--no-normalize", dest="normalize", action="store_false", help="leave vectors at the length they have.")
    add("--dims", type=positive, metavar="N", help="keep only the first N dimensions.")
    add("--sparse", action="store_true", help="sparse vectors, by a sparse encoder; written as jsonl.")
    add("--top-k", type=positive, metavar="K", help="with --sparse: keep only the K entries of largest weight.")
    add("--min-weight", type=float, metavar="W", help="with --sparse: leave out entries of lower weight.")
    add("--tokens", action="store_true", help="with --sparse: write the token of each entry, too.")
    add("--outputs", type=_outputs, metavar="A,B", help="of a model with several: dense, sparse, multiVector; jsonl.")
    add("--multi-vector", action="store_true", help="several vectors for each text (ColBERT); written as jsonl.")
    add("--batch", type=positive, default=64, metavar="N", help="texts in one request. Default: 64.")
    add("--concurrency", type=positive, default=8, metavar="N", help="requests at a time. Default: 8.")
    add("--force", action="store_true", help="replace the output, and start over after an interrupted run.")
    add("--skip-bad-images", action="store_true", help="into parts: no vector for a picture that cannot be read.")
    add("--quiet", action="store_true", help="no progress bar, no summary.")
    add("--json", action="store_true", help="the summary as JSON on standard output, for which -o is needed.")
    add_parts_flags(parser)
    add_connection_flags(parser)


def embed(options: dict[str, Any]) -> int:
    """Run the command."""
    from ingrain.cli.embed_outputs import OutputLines, SparseLines, make_writer

    if wants_parts(options):
        return embed_in_parts(options)
    refuse_parts_flags(options)
    output = options["output"] = None if options["output"] is None else Path(options["output"])
    output_format = _output_format(options)
    _check(options, output_format)
    item_name = None if options["without_input"] else "image" if options["images"] else "text"
    writer = (
        OutputLines(item_name)
        if options["outputs"]
        else SparseLines(item_name)
        if options["sparse"]
        else make_writer(output_format, item_name)
    )
    with make_client(
        options, return_numpy=True, batch_size=options["batch"], concurrency=options["concurrency"]
    ) as client:
        if output is None:
            _to_stdout(client, options, writer)
            return 0
        try:
            return _to_file(client, options, writer, output, output_format)
        except OSError as error:
            raise SettingsError(f"{output} cannot be written ({error.strerror}).", param="--output") from error


def _to_stdout(client: Client, options: dict[str, Any], writer: Writer) -> None:
    from ingrain.cli.embed_outputs import width_of

    first = 0
    for items, rows in _embedded(client, options, _items(options)):
        head = b"" if first else writer.head(width_of(rows))
        sys.stdout.buffer.write(head + writer.rows(first, items, rows))
        sys.stdout.buffer.flush()
        first += len(items)


def _to_file(client: Client, options: dict[str, Any], writer: Writer, output: Path, output_format: OutputFormat) -> int:
    from tqdm import tqdm

    from ingrain.cli.unfinished_output import UnfinishedOutput

    kept = (
        *("model", "library", "pretrained", "images", "normalize", "dims", "without_input", "shrink", "sparse"),
        *("multi_vector", "outputs", *_OF_TEXTS, *_OF_SPARSE),
    )
    what = {"output_format": output_format, **{name: options[name] for name in kept}}
    part = UnfinishedOutput(output, writer, what, force=options["force"])
    items, before = _items(options), part.rows
    part.check(itertools.islice(items, before))
    shown = sys.stderr.isatty() and not options["quiet"]
    unit = " pictures" if options["images"] else " texts"
    try:
        with part.open(), tqdm(initial=before, unit=unit, disable=not shown) as bar:
            for batch, rows in _embedded(client, options, items):
                part.add(batch, rows)
                bar.update(len(batch))
    except (KeyboardInterrupt, IngrainError):
        if part.rows and not options["quiet"]:
            print(
                f"ingrain: {part.rows} rows are kept in {output}.part; the same command continues there.",
                file=sys.stderr,
            )
        raise
    if not part.rows:
        raise SettingsError("There is nothing to embed in the input.", param="FILE")
    part.finish()
    summary = {"output": str(output), "rows": part.rows, "rowsOfEarlierRuns": before, "width": part.progress.width}
    if options["sparse"] or options["multi_vector"] or options["outputs"]:
        del summary["width"]
    if options["json"]:
        print(json.dumps(summary, indent=2))
    elif not options["quiet"]:
        of_width = f" of {part.progress.width} dimensions" if "width" in summary else ""
        print(f"{part.rows} vectors{of_width} in {output}", file=sys.stderr)
    return 0


def _embedded(client: Client, options: dict[str, Any], items: Iterable[str]) -> Iterator[tuple[list[str], Any]]:
    """Yield items with their vectors, one request at a time."""
    from ingrain.cli.embed_outputs import output_rows, sparse_rows

    sent: deque[str] = deque()

    def feed() -> Iterator[str]:
        for item in items:
            sent.append(item)
            yield item

    if (first := next(iter(items), None)) is None:
        return
    items = itertools.chain([first], items)
    with closing(_stream(client, options, feed())) as parts:
        for answer in parts:
            if options["outputs"]:
                rows: Any = output_rows(answer)
            else:
                rows = sparse_rows(answer) if options["sparse"] else answer.numpy()
            yield [sent.popleft() for _ in rows], rows


def _stream(client: Client, options: dict[str, Any], items: Iterator[str]) -> Any:
    ref, library = model_of(options["model"], options["library"], options["pretrained"])
    of_texts = {name: options[name] for name in _OF_TEXTS}
    if options["sparse"]:
        chosen = {name: options[name] for name in _OF_SPARSE}
        return client.stream_sparse(
            ref.name, items, truncate=options["truncate"], library=library, **of_texts, **chosen
        )
    if options["multi_vector"]:
        return client.stream_multi_vector(
            ref.name,
            items,
            truncate=options["truncate"],
            normalize=None if options["normalize"] else False,
            n_dims=options["dims"],
            library=library,
            **of_texts,
        )
    more: dict[str, Any] = {
        "library": library,
        "pretrained": ref.pretrained,
        "normalize": options["normalize"],
        "n_dims": options["dims"],
    }
    if not options["images"]:
        more["outputs"] = options["outputs"]
        return client.stream_text(ref.name, items, truncate=options["truncate"], **of_texts, **more)
    # A name that the user gave as a file is one, whatever its suffix.
    pictures = (item if item.startswith(("http://", "https://")) else Path(item) for item in items)
    return client.stream_image(ref.name, pictures, shrink=options["shrink"], **more)


def _items(options: dict[str, Any]) -> Iterator[str]:
    from ingrain.cli.embed_inputs import read_pictures, read_texts

    if options["text"]:
        return iter(options["text"])
    if options["images"]:
        return read_pictures(options["files"])
    return read_texts(options["files"], input_format=options["input_format"], field=options["field"])


def _output_format(options: dict[str, Any]) -> OutputFormat:
    from ingrain.cli.embed_outputs import SUFFIXES

    if options["output_format"]:
        return options["output_format"]  # type: ignore[no-any-return]  # argparse has checked it
    if options["output"] is None:
        return "jsonl"
    found = SUFFIXES.get(options["output"].suffix.lower())
    if found is None:
        raise SettingsError(
            f"Cannot tell the output format from {options['output']}; use --output-format with one of "
            f"{', '.join(_OUTPUT_FORMATS)}.",
            param="--output-format",
        )
    return found


def _outputs(text: str) -> list[Output]:
    """Parse the value of ``--outputs``."""
    given = text.split(",")
    if unknown := set(given) - set(_OUTPUTS):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(_OUTPUTS)}")
    return [output for output in _OUTPUTS if output in given]


def _check(options: dict[str, Any], output_format: OutputFormat) -> None:
    if bool(options["files"]) == bool(options["text"]):
        raise SettingsError("Give files to embed, or --text; - is standard input.", param="FILE")
    if options["images"] and options["text"]:
        raise SettingsError("--images goes with files, not with --text.", param="--images")
    if options["sparse"] and (options["images"] or output_format != "jsonl"):
        raise SettingsError("--sparse is for texts, and writes jsonl.", param="--sparse")
    if options["sparse"] and (options["multi_vector"] or options["dims"]):
        raise SettingsError("--sparse goes neither with --multi-vector nor with --dims.", param="--sparse")
    if options["images"] and any(options[name] is not None for name in _OF_TEXTS):
        raise SettingsError(
            "--input-type, --prompt-name and --prompt are for texts, not for --images.", param="--images"
        )
    if not options["sparse"] and (given := next((name for name in _OF_SPARSE if options[name]), None)):
        flag = f"--{given.replace('_', '-')}"
        raise SettingsError(f"{flag} goes with --sparse.", param=flag)
    if options["multi_vector"] and (options["images"] or output_format != "jsonl"):
        raise SettingsError("--multi-vector is for texts, and writes jsonl.", param="--multi-vector")
    if options["outputs"] and (options["images"] or options["sparse"] or options["multi_vector"]):
        raise SettingsError("--outputs is for texts, without --sparse and --multi-vector.", param="--outputs")
    if options["outputs"] and output_format != "jsonl":
        raise SettingsError("--outputs writes jsonl.", param="--outputs")
    if options["output"] is None and (options["json"] or output_format in ("parquet", "npy")):
        what = "--json" if options["json"] else f"The format {output_format}"
        raise SettingsError(f"{what} needs -o FILE.", param="--output")
