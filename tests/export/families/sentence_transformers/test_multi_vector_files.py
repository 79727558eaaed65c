"""Which late-interaction models are refused by their files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.sentence_transformers.checkpoint import Accepted, inspect
from ingrain.export.families.sentence_transformers.code_references import module_code

TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
DENSE = {"path": "1_Dense", "type": "pylate.models.Dense.Dense"}
MASK = {
    "path": "2_Mask",
    "type": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
}
POOLING = {
    "path": "3_P",
    "type": "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling",
}


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold the files of a PyLate model."""
    write(tmp_path, "modules.json", [TRANSFORMER, DENSE, MASK])
    write(tmp_path, "config.json", {"model_type": "bert"})
    write(tmp_path, "sentence_bert_config.json", {"query_length": 32, "document_length": 300})
    write(tmp_path, "1_Dense/config.json", {"activation_function": "torch.nn.modules.linear.Identity"})
    write(tmp_path, "2_Mask/config.json", {"skiplist_words": ["."]})
    (tmp_path / "vocab.txt").write_text("red")
    for part in (tmp_path, tmp_path / "1_Dense"):
        (part / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_modules_of_pylate_and_lengths_of_each_side_pass_without_any_code(folder: Path) -> None:
    checkpoint = inspect(folder, trust_remote_code=False, accepted=Accepted(late_interaction=True))
    assert [module.kind for module in checkpoint.modules] == ["Transformer", "Dense", "MultiVectorMask"]
    assert not checkpoint.custom_code
    assert list(module_code(folder)) == []


def test_the_same_files_are_no_embedding_model(folder: Path) -> None:
    with pytest.raises(UnsupportedModelError):
        inspect(folder, trust_remote_code=False)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("modules.json", [TRANSFORMER, DENSE, MASK, POOLING], "clustering"),
        ("modules.json", [TRANSFORMER, {**DENSE, "type": "pylate.models.Other"}], "remote code"),
        ("2_Mask/config.json", {"skiplist_ids": [1]}, "skiplist_ids"),
        ("config.json", {"model_type": "bert", "architectures": ["JinaBertModel"]}, "JinaBertModel"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(folder: Path, name: str, content: Any, word: str) -> None:
    write(folder, name, content)
    with pytest.raises(UnsupportedModelError, match=word):
        inspect(folder, trust_remote_code=False, accepted=Accepted(late_interaction=True))


def test_the_class_of_colberts_own_code_is_any_network(folder: Path) -> None:
    (folder / "modules.json").unlink()
    write(folder, "config.json", {"model_type": "bert", "architectures": ["HF_ColBERT"]})
    inspect(folder, trust_remote_code=False, accepted=Accepted(late_interaction=True))
    with pytest.raises(UnsupportedModelError, match="HF_ColBERT"):
        inspect(folder, trust_remote_code=False)
