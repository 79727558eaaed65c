"""`ingrain rerank`: documents of files or of the command line, by their relevance to a query."""

from __future__ import annotations

import argparse
from typing import Any

from ingrain.cli.connect import make_client, model_of, say
from ingrain.cli.parsers import add_command, add_connection_flags, add_json_flag, add_model_flags, positive
from ingrain.errors import SettingsError

_EXAMPLES = """\
examples:
  ingrain rerank --model BAAI/bge-reranker-base --query "Who wrote Faust?" --document "Goethe." --document "Bach."
  ingrain rerank --model BAAI/bge-reranker-base --query "Who wrote Faust?" documents.txt --top 5
  ingrain rerank --model BAAI/bge-reranker-base --query "Who wrote Faust?" documents.jsonl --field body --json
"""
_INPUT_FORMATS = ("lines", "jsonl", "csv", "tsv", "parquet")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "rerank",
        "rank documents by their relevance to a query",
        rerank,
        description="Rank documents with a reranker that is loaded.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="documents: lines, JSON lines, CSV, TSV, Parquet; - for standard input.",
    )
    add("--model", required=True, metavar="NAME", help="a reranker that is loaded.")
    add_model_flags(parser)
    add("--query", required=True, metavar="TEXT", help="what the documents are ranked by.")
    add("--document", action="append", default=[], help="a document; may be given several times, instead of files.")
    add("--input-format", choices=_INPUT_FORMATS, help="how files are written. Default: by suffix, else lines.")
    add("--field", default="text", help="key or column that holds the text. Default: text.")
    add("--top", type=positive, metavar="N", help="only the N best documents.")
    add("--raw-scores", action="store_true", help="scores before the model's activation function.")
    add("--prompt-name", metavar="NAME", help="put the model's prompt of this name before the query.")
    add("--prompt", metavar="WORDS", help="put these words before the query; '' for not even the model's default.")
    add("--no-truncate", dest="truncate", action="store_false", help="end where a pair is longer than the model takes.")
    add_json_flag(parser)
    add_connection_flags(parser)


def rerank(options: dict[str, Any]) -> int:
    """Run the command."""
    from ingrain.cli.embed_inputs import read_texts

    if bool(options["files"]) == bool(options["document"]):
        raise SettingsError("Give files with documents, or --document; - is standard input.", param="FILE")
    documents: list[str] = options["document"] or list(
        read_texts(options["files"], input_format=options["input_format"], field=options["field"])
    )
    if not documents:
        raise SettingsError("There is nothing to rank in the input.", param="FILE")
    ref, library = model_of(options["model"], options["library"], options["pretrained"])
    with make_client(options) as client:
        answer = client.rerank(
            ref.name,
            options["query"],
            documents,
            top_n=options["top"],
            raw_scores=options["raw_scores"],
            prompt=options["prompt"],
            prompt_name=options["prompt_name"],
            truncate=options["truncate"],
            library=library,
            pretrained=ref.pretrained,
        )
    ranked = [(one.index, one.score, documents[one.index]) for one in answer.results]
    results = [{"index": index, "score": score, "document": document} for index, score, document in ranked]
    text = "\n".join(f"{score:10.6f}  {index:5}  {' '.join(document.split())}" for index, score, document in ranked)
    say({"results": results}, as_json=options["json"], text=text)
    return 0
