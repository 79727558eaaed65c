"""What the tests of decoders that score pairs run in the process that has torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ingrain.errors import IngrainError

QUERY = "where does the river run?"
PAIRS = [(QUERY, text) for text in ("", " stone\n", "river stone " * 9, "the sea", "東京 " * 200, "yes <|im_end|> no")]


def differences(name: str, folder: Path) -> dict[str, float]:
    """Build a small decoder; return how much its exportable form differs from ``predict``.

    Of pairs alone, of all pairs in a batch padded on the left, and on the right. The inputs are tokenized by the
    server's code.
    """
    import torch

    from ingrain.export.families.sentence_transformers.scorer_graph import build_scorer_graph, keep_wanted_rows
    from ingrain.preprocess.tokenized import collate
    from tiny_decoders import LOGIT_SCORERS

    source, pairs = opened(LOGIT_SCORERS[name](folder))
    wanted = np.stack([source.score([pair])[0] for pair in PAIRS])
    keep_wanted_rows(source.model)
    graph = build_scorer_graph(source.model)
    items = pairs.encode(PAIRS)

    def run(some: list[Any], side: str) -> np.ndarray:
        import msgspec

        config = msgspec.structs.replace(pairs.text.config, padding_side=side)
        arrays = collate(some, config, graph.inputs)
        with torch.inference_mode():
            return graph(*(torch.from_numpy(arrays[name]) for name in graph.inputs)).numpy()

    rows = {
        "alone": np.concatenate([run([item], "left") for item in items]),
        "left": run(items, "left"),
        "right": run(items, "right"),
    }
    assert all(row.shape == (len(PAIRS), 1) for row in rows.values())
    return {how: float(np.abs(row - wanted).max()) for how, row in rows.items()}


def different_ids(name: str, folder: Path, prompts: list[str]) -> list[str]:
    """Build a small decoder; return the pairs whose ids differ from those of the library, for each prompt."""
    from tiny_decoders import LOGIT_SCORERS

    source, pairs = opened(LOGIT_SCORERS[name](folder))
    wrong = []
    for prompt in prompts:
        theirs = source.model.preprocess(PAIRS, prompt=prompt)
        masks = theirs["attention_mask"].bool()
        for pair, item, ids, mask in zip(
            PAIRS, pairs.encode(PAIRS, prompt=prompt), theirs["input_ids"], masks, strict=True
        ):
            if np.frombuffer(item.packed_ids, np.int64).tolist() != ids[mask].tolist():
                wrong.append(f"{prompt!r} {pair!r}")
    return wrong


def prompted_parts(folder: Path, template: str) -> Any:
    """Build a small decoder; return the parts of its template with a prompt."""
    from tiny_decoders import build_logit_scorer

    _, pairs = opened(build_logit_scorer(folder, template=template))
    return pairs.text.config.pair_template.with_prompt


def refusal(folder: Path, changed: dict[str, Any] | None = None, **options: Any) -> str:
    """Build a small decoder with other options of its ``LogitScore``; return why it is refused."""
    from tiny_decoders import build_logit_scorer

    build_logit_scorer(folder, **options)
    tokens = folder / "1_LogitScore" / "config.json"
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | (changed or {})))
    try:
        opened(folder)
    except IngrainError as error:
        return str(error)
    return ""


def opened(folder: Path) -> Any:
    """Return a folder's source, and the server's tokenizer of its pairs."""
    from ingrain.export.families.sentence_transformers.scorer_source import open_source
    from ingrain.export.process.job import ExportJob
    from ingrain.preprocess.chat_pairs import open_pair_tokenizer
    from ingrain.preprocess.text import TextPreprocessor

    source = open_source(ExportJob(name="model", library="sentence_transformers", output=str(folder)), folder)
    side_files = folder.with_name(f"{folder.name}.side")
    side_files.mkdir()
    text = source.describe(side_files).preparation.text
    assert text is not None
    return source, open_pair_tokenizer(TextPreprocessor(text, side_files))
