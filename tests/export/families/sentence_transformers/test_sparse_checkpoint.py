"""What is refused from a sparse encoder's JSON files alone, and what its files are found to be."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.sentence_transformers.checkpoint import modules_of
from ingrain.export.families.sentence_transformers.kinds import SOURCE_MODULES, kind_of, source_module
from ingrain.export.families.sentence_transformers.sparse_checkpoint import inspect_sparse

# As the repositories of opensearch-project have it: the network of documents is in the folder of the model itself.
ROUTER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
ROUTES = {
    "types": {
        "query_0_SparseStaticEmbedding": "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding",
        "": "sentence_transformers.sparse_encoder.models.MLMTransformer",
        "document_1_SpladePooling": "sentence_transformers.sparse_encoder.models.SpladePooling",
    },
    "structure": {
        "query": ["query_0_SparseStaticEmbedding"],
        "document": ["", "document_1_SpladePooling"],
    },
    "parameters": {"default_route": "document", "allow_empty_key": True},
}


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold the files of an inference-free model."""
    write(tmp_path, "modules.json", [ROUTER])
    write(tmp_path, "router_config.json", ROUTES)
    write(tmp_path, "config.json", {"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    write(tmp_path, "query_0_SparseStaticEmbedding/config.json", {"frozen": True})
    write(tmp_path, "document_1_SpladePooling/config.json", {"pooling_strategy": "max", "activation_function": "relu"})
    (tmp_path / "vocab.txt").write_text("red")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "query_0_SparseStaticEmbedding" / "model.safetensors").write_bytes(b"")
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        inspect_sparse(folder, trust_remote_code=False)
    assert str(folder) not in caught.value.message
    return caught.value.message


def test_a_router_of_queries_and_documents_is_a_sparse_encoder(folder: Path) -> None:
    inspect_sparse(folder, trust_remote_code=False)
    assert kind_of(folder).tasks == ("embed_sparse",)
    assert [part.name for _, part in modules_of(folder)][1:] == [
        "query_0_SparseStaticEmbedding",
        folder.name,
        "document_1_SpladePooling",
    ]


def test_a_masked_language_model_is_one_only_where_that_is_asked_for(folder: Path) -> None:
    (folder / "modules.json").unlink()
    assert source_module(folder, None) == SOURCE_MODULES["embed"]
    assert source_module(folder, "embed_sparse") == SOURCE_MODULES["embed_sparse"]
    inspect_sparse(folder, trust_remote_code=False)


def test_weights_from_a_file_by_path_are_refused(folder: Path) -> None:
    write(folder, "query_0_SparseStaticEmbedding/config.json", {"path": "../../idf.json"})
    assert "'path'" in refusal(folder)


def test_missing_weights_of_queries_are_refused(folder: Path) -> None:
    (folder / "query_0_SparseStaticEmbedding" / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)


def test_an_option_that_is_not_modelled_is_refused(folder: Path) -> None:
    write(folder, "document_1_SpladePooling/config.json", {"pooling_strategy": "max", "temperature": 2})
    assert "'temperature'" in refusal(folder)


def test_a_module_of_others_is_refused_in_a_router_too(folder: Path) -> None:
    routes = {**ROUTES, "types": ROUTES["types"] | {"document_1_SpladePooling": "custom_pooling.MyPooling"}}
    write(folder, "router_config.json", routes)
    assert "'MyPooling'" in refusal(folder)


@pytest.mark.parametrize("part", ["../elsewhere", "/etc"])
def test_a_route_outside_the_folder_is_refused(folder: Path, part: str) -> None:
    write(folder, "router_config.json", ROUTES | {"types": {part: ROUTES["types"][""]}})
    assert "outside" in refusal(folder)


def test_a_router_without_its_file_is_refused(folder: Path) -> None:
    (folder / "router_config.json").unlink()
    (folder / "config.json").unlink()
    assert "router_config.json" in refusal(folder)
