"""Models as INGRAIN_MODELS writes them."""

from typing import get_args

import pytest

from ingrain.app.model_names import parse_model
from ingrain.errors import SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.settings import describe
from ingrain.vocabulary import Precision


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("a", ModelRef(name="a")),
        ("org/a@v2", ModelRef(name="org/a", revision="v2")),
        ("org/a#int8", ModelRef(name="org/a", precision="int8")),
        ("org/a@v2#int8-safe", ModelRef(name="org/a", revision="v2", precision="int8-safe")),
        (
            "open_clip:ViT-B-32@openai#fp16",
            ModelRef(name="ViT-B-32", library="open_clip", pretrained="openai", precision="fp16"),
        ),
        ("timm:resnet18", ModelRef(name="resnet18", library="timm")),
    ],
)
def test_a_model_may_name_library_revision_and_precision(text, ref):
    assert parse_model(text) == ref


@pytest.mark.parametrize(("text", "said"), [("#int8", "without a model name"), ("a#int4", "'int4' in 'a#int4'")])
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_model(text)


def test_the_setting_knows_every_precision():
    """Settings stand below the manifest, and so write the precisions out."""
    (setting,) = (info for info in describe() if info.field == "precision")
    assert setting.choices == get_args(Precision)
