"""Image configurations of the source libraries: what is followed, and what is refused."""

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.image_steps import preprocess_config_from_open_clip, preprocess_config_from_timm
from ingrain.export.process.torchvision_shim import install
from ingrain.repository.image_preprocess import CenterCrop, Resize, ToRgb

TIMM = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "L"},
        {"interpolation": "lanczos"},
        {"resize_mode": "stretch"},
        {"size": "224"},
        {"size": (224,)},
        {"size": (1, 2, 3)},
        {"size": 0},
        {"size": 224.5},
        {"mean": (0.5, 0.5)},
        {"std": (0.5, 0.0, 0.5)},
        {"mean": (float("nan"),) * 3},
        {"fill_color": (1, 2, 3), "resize_mode": "longest"},
        {"sharpen": 2},
        "224",
    ],
)
def test_what_open_clip_might_say_and_we_cannot_follow_is_refused(config: object) -> None:
    with pytest.raises(UnsupportedModelError):
        preprocess_config_from_open_clip(config)


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": (1, 224, 224)},
        {"input_size": (224, 224)},
        {"interpolation": "random"},
        {"interpolation": ""},
        {"crop_mode": "diagonal"},
        {"crop_pct": -1},
        {"crop_pct": "all"},
        {"mean": (0.5,)},
        {"std": (0.5, 0.5, 0)},
        {"crop_border_pixels": 4},
        {"tf_preprocessing": True},
    ],
)
def test_what_timm_might_say_and_we_cannot_follow_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModelError):
        preprocess_config_from_timm({**TIMM, **change})


def test_open_clip_converts_last_and_timm_first() -> None:
    """A palette or alpha channel goes through the resize with the one, and not with the other."""
    assert preprocess_config_from_open_clip({"size": 224}).steps == (
        Resize((224, 224), "shortest", "bicubic"),
        CenterCrop((224, 224)),
        ToRgb(),
    )
    assert preprocess_config_from_timm({**TIMM, "crop_pct": 0.875}).steps == (
        ToRgb(),
        Resize((256, 256), "shortest", "bicubic"),
        CenterCrop((224, 224)),
    )


def test_border_is_filled_with_the_mean_colour() -> None:
    steps = preprocess_config_from_timm({**TIMM, "crop_mode": "border", "mean": (0.1, 0.5, 0.9)}).steps
    assert steps[-1] == CenterCrop((224, 224), (26, 128, 230))


@pytest.mark.slow
def test_every_pretrained_tag_of_both_libraries_is_followed() -> None:
    install()
    from open_clip.pretrained import _PRETRAINED
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg, list_pretrained

    tags = [tag for of_model in _PRETRAINED.values() for tag in of_model.values()]
    assert len(tags) > 150
    for tag in tags:
        preprocess_config_from_open_clip(merge_preprocess_dict(PreprocessCfg(), tag))
    names = list_pretrained()
    assert len(names) > 1500
    for name in names:
        preprocess_config_from_timm(resolve_data_config({}, pretrained_cfg=get_pretrained_cfg(name).to_dict()))
