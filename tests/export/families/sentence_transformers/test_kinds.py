"""Which kind of model a folder of sentence-transformers or transformers holds, by its side files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.sentence_transformers.kinds import SOURCE_MODULES, kind_of, source_module

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
ONE, THREE = {"id2label": {"0": "LABEL_0"}}, {"id2label": {"0": "no", "1": "maybe", "2": "yes"}}
SCORES = {"architectures": ["BertForSequenceClassification"]}
CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"
PAIRS = """{{ messages | selectattr("role", "eq", "query") }}{{ messages | selectattr("role", "eq", 'document') }}"""


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def modules(*dotted: str) -> list[dict[str, str]]:
    return [{"type": kind, "path": f"{place}_part" if place else ""} for place, kind in enumerate(dotted)]


def named(kind: str) -> dict[str, Any]:
    return {"config_sentence_transformers.json": {"model_type": kind}}


KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain network": ({"config.json": {"architectures": ["BertModel"]}}, ("embed", "embed_tokens")),
    "no architecture": ({"config.json": {}}, ("embed", "embed_tokens")),
    "embedding modules": (
        {"modules.json": modules(TRANSFORMER), "config.json": SCORES | ONE} | named("SentenceTransformer"),
        ("embed", "embed_tokens"),
    ),
    "plain reranker": ({"config.json": SCORES | ONE}, ("rerank", "classify", "embed")),
    "plain classifier": ({"config.json": SCORES | THREE}, ("classify", "embed")),
    "two labels that are not written": ({"config.json": SCORES}, ("classify", "embed")),
    "cross-encoder": ({"config.json": SCORES | ONE} | named("CrossEncoder"), ("rerank", "classify")),
    "cross-encoder with modules": (
        {"modules.json": modules(TRANSFORMER), "config.json": SCORES | THREE} | named("CrossEncoder"),
        ("classify",),
    ),
    "cross-encoder with a dense head": (
        {
            "modules.json": modules(TRANSFORMER, "sentence_transformers.base.modules.dense.Dense"),
            "config.json": {"architectures": ["BertModel"]},
            "1_part/config.json": {"module_output_name": "scores", "out_features": 1},
        }
        | named("CrossEncoder"),
        ("rerank", "classify"),
    ),
    "decoder that scores": (
        {"modules.json": modules(TRANSFORMER, "sentence_transformers.cross_encoder.modules.logit_score.LogitScore")},
        ("rerank", "classify"),
    ),
    "plain decoder": ({"config.json": {"architectures": ["Qwen3ForCausalLM"]}}, ("embed", "rerank", "embed_tokens")),
    "plain decoder with a chat template": (
        {"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "tokenizer_config.json": {"chat_template": CHAT}},
        ("embed", "rerank", "embed_tokens"),
    ),
    "plain decoder with a chat template for pairs": (
        {"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "tokenizer_config.json": {"chat_template": PAIRS}},
        ("rerank",),
    ),
    "masked language model": (
        {"config.json": {"architectures": ["BertForMaskedLM"]}},
        ("embed", "embed_sparse", "embed_tokens"),
    ),
    "sparse by name": (named("SparseEncoder"), ("embed_sparse",)),
    "sparse by module": (
        {"modules.json": modules(TRANSFORMER, "sentence_transformers.sparse_encoder.models.SpladePooling")},
        ("embed_sparse",),
    ),
    "multi-vector by name": (named("MultiVectorEncoder"), ("embed_multi_vector",)),
    "PyLate": ({"modules.json": modules(TRANSFORMER, "pylate.models.Dense.Dense")}, ("embed_multi_vector",)),
    "PyLate by its type": (named("ColBERT"), ("embed_multi_vector",)),
    "PyLate by its settings": (
        {"modules.json": modules(TRANSFORMER), "config_sentence_transformers.json": {"query_prefix": "[Q] "}},
        ("embed_multi_vector",),
    ),
    "ColBERT by file": ({"config.json": {}, "artifact.metadata": {"dim": 128}}, ("embed_multi_vector",)),
    "ColBERT by class": ({"config.json": {"architectures": ["HF_ColBERT"]}}, ("embed_multi_vector",)),
}


@pytest.mark.parametrize(("files", "tasks"), KINDS.values(), ids=KINDS)
def test_the_files_say_what_the_model_is(tmp_path: Path, files: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert kind_of(write(tmp_path, files)).tasks == tasks


def test_a_type_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="'HologramEncoder'"):
        kind_of(write(tmp_path, named("HologramEncoder")))


@pytest.mark.parametrize("files", [{"modules.json": modules(TRANSFORMER)}, {"config.json": {}}])
def test_two_heads_beside_a_network_make_a_model_with_three_outputs(tmp_path: Path, files: dict[str, Any]) -> None:
    heads = {"sparse_linear.pt": {}, "colbert_linear.pt": {}}
    folder = write(tmp_path, files | heads)
    for wanted in (None, "embed", "embed_sparse", "embed_multi_vector", "rerank", "embed_tokens"):
        assert source_module(folder, wanted).endswith("m3_source")
    with pytest.raises(UnsupportedModelError, match="dense, sparse and several vectors"):
        source_module(folder, "classify")
    # Where pickles are forbidden, the heads cannot be read; the network alone is an embedding model.
    assert source_module(folder, None, reads_pickles=False) == SOURCE_MODULES["embed"]
    (folder / "sparse_linear.pt").unlink()
    assert kind_of(folder).tasks == ("embed", "embed_tokens")


def test_a_multi_vector_model_also_ranks_and_embeds_tokens(tmp_path: Path) -> None:
    folder = write(tmp_path, named("MultiVectorEncoder"))
    for wanted in (None, "embed_multi_vector", "rerank", "embed_tokens"):
        assert source_module(folder, wanted) == SOURCE_MODULES["embed_multi_vector"]


def test_a_task_that_the_model_cannot_serve_is_refused_with_what_the_model_is(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": {"architectures": ["BertModel"]}})
    assert source_module(folder, None) == source_module(folder, "embed") == SOURCE_MODULES["embed"]
    with pytest.raises(UnsupportedModelError, match=r"an embedding model .* cannot be 'rerank'") as caught:
        source_module(folder, "rerank")
    assert caught.value.param == "task"


@pytest.mark.parametrize("kind", ["CrossEncoder", "SparseEncoder", "MultiVectorEncoder"])
def test_models_without_one_dense_vector_a_text_do_not_become_embedding_models(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path, {"modules.json": modules(TRANSFORMER), "config.json": SCORES | ONE} | named(kind))
    with pytest.raises(UnsupportedModelError):
        source_module(folder, "embed")
