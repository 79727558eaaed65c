"""A really trained CLIP, small enough to train on the spot: scikit-learn's digits, with captions in words."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiny_models import prepare_libraries

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a photo of the digit {}.", "the number {}", "a handwritten {}")
_SIZE = 32
_STEPS, _BATCH = 240, 64
_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": _SIZE, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"},
}


def digit_pictures() -> tuple[list[bytes], NDArray[np.int64]]:
    """Return PNG files of all digits, taller than wide so that cropping matters, and what they show.

    The last 360 of them are never trained on.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    # They come writer by writer; mixed, the ones held out are by all of them.
    order = np.random.default_rng(0).permutation(len(digits.target))
    files = []
    for pixels in digits.images[order]:
        grey = Image.fromarray((pixels * (255 / 16)).astype(np.uint8), "L").resize(
            (_SIZE, _SIZE), Image.Resampling.BILINEAR
        )
        canvas = Image.new("RGB", (32, 40), (20, 20, 60))
        canvas.paste(grey, (0, 4))
        stream = BytesIO()
        canvas.save(stream, "PNG")
        files.append(stream.getvalue())
    return files, np.asarray(digits.target[order], np.int64)


HELD_OUT = 360


def build_digits_clip(folder: Path, *, seed: int = 0) -> Path:
    """Train the model, which takes about 15 seconds on one thread, and write its folder.

    Args:
        folder: Where it goes; made if missing.
        seed: Seed of weights and batches.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch
    from safetensors.torch import save_file

    from ingrain.export.families.open_clip.checkpoint import CONFIG, WEIGHTS
    from ingrain.export.families.open_clip.source import create_network

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(_CONFIG))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = create_network(_CONFIG["model_cfg"], _CONFIG["preprocess_cfg"], None)
        _train(network, np.random.default_rng(seed))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS[0])
    return folder


def _train(network: Any, random: np.random.Generator) -> None:
    import open_clip
    import torch

    pixels, targets = _tensors(network)
    texts = open_clip.SimpleTokenizer(context_length=16)(
        [template.format(name) for template in TEMPLATES for name in NAMES]
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=_STEPS)
    network.train()
    for _ in range(_STEPS):
        chosen = torch.from_numpy(random.choice(len(targets) - HELD_OUT, _BATCH, replace=False))
        template = int(random.integers(len(TEMPLATES)))
        # Every batch has all ten captions, so that the loss is a classification by words.
        words = network.encode_text(texts[10 * template : 10 * template + 10], normalize=True)
        pictures = network.encode_image(pixels[chosen], normalize=True)
        logits = network.logit_scale.exp() * pictures @ words.T
        loss = torch.nn.functional.cross_entropy(logits, targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def _tensors(network: Any) -> tuple[Any, Any]:
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    files, targets = digit_pictures()
    return torch.stack([transform(Image.open(BytesIO(data))) for data in files]), torch.from_numpy(targets)
