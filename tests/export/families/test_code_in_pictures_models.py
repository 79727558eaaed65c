"""Models of OpenCLIP and timm that name code are refused by what they name, before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.open_clip.checkpoint import CONFIG, inspect_clip
from ingrain.export.families.timm.checkpoint import inspect_timm

CODE = {"auto_map": {"AutoModel": "org/code--modeling.Other"}}


def clip(folder: Path, text_config: dict[str, Any], **top: Any) -> None:
    model = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_model_name": "org/text"}}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model} | top))
    (folder / "text_config").mkdir()
    (folder / "text_config" / "config.json").write_text(json.dumps(text_config))
    inspect_clip(folder)


@pytest.mark.parametrize(
    ("text_config", "word"),
    [
        ({"model_type": "roberta"} | CODE, "code that comes with the model"),
        ({"model_type": "bert", "architectures": ["JinaBertModel"]}, "'JinaBertModel'"),
        ({"model_type": "bert", "n_layer": 2}, "'n_layer'"),
    ],
)
def test_a_text_tower_that_is_another_class_than_transformers_has(
    tmp_path: Path, text_config: dict[str, Any], word: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        clip(tmp_path, text_config)


def test_code_in_the_configuration_of_open_clip(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="auto_map"):
        clip(tmp_path, {"model_type": "roberta"}, **CODE)


def test_code_in_the_configuration_of_timm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 3} | CODE))
    with pytest.raises(UnsupportedModelError, match="auto_map"):
        inspect_timm(tmp_path)
