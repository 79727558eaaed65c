"""Proves timm architectures of every large family with random weights, and writes the results as a table.

Run as ``python -m compat.timm_models``. An interrupted run can be continued: it repeats only architectures that are
missing or failed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compat.towers import TowerRow, convert_briefly, job_in, run_all
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

# One or two of each family, small ones if possible; `:0` for a network without a classifier layer.
ARCHITECTURES = (
    "resnet18", "resnet50:0", "resnetv2_50", "wide_resnet50_2", "resnext50_32x4d", "seresnet50", "res2net50_26w_4s",
    "resnest26d", "skresnet18", "regnety_008", "densenet121", "vgg11_bn", "dpn48b", "dla34", "hrnet_w18_small",
    "inception_v3", "xception41", "mobilenetv2_050", "mobilenetv3_small_050:0", "mobilenetv4_conv_small",
    "efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnetv2_b0", "mixnet_s", "mnasnet_small", "ghostnet_100",
    "lcnet_050", "repvgg_a0", "nfnet_l0", "rexnet_100", "cspresnet50", "convnext_atto", "convnextv2_atto:0",
    "vit_tiny_patch16_224:0", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224",
    "beit_base_patch16_224", "cait_xxs24_224", "xcit_nano_12_p16_224", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256", "pvt_v2_b0", "twins_pcpvt_small", "levit_128s", "mobilevit_xxs", "efficientformer_l1",
    "fastvit_t8", "maxvit_rmlp_pico_rw_256", "coatnet_nano_rw_224", "mixer_s16_224", "gmlp_s16_224", "resmlp_12_224",
    "poolformer_s12", "convmixer_768_32", "edgenext_xx_small", "tiny_vit_5m_224", "repvit_m1",
    "eva02_tiny_patch14_224:0", "vit_small_patch14_dinov2:0", "crossvit_tiny_240", "visformer_tiny",
    "inception_next_tiny", "focalnet_tiny_srf", "hgnetv2_b0", "vit_relpos_small_patch16_224",
)  # fmt: skip
_HEAD = """# Compatibility with timm

Written by `make compat`; not by hand. Every architecture was built with seeded random weights
(and with values that show where a fresh network has constants), exported, proved in ONNX Runtime on the CPU, and
compared with timm's own network in float32 and its own transform.

- **difference**: the largest of any element of a vector, both at unit length; for a classifier also of any
  probability; 1e-4 is allowed.
- **output**: `logits` of a classifier, `embedding` of a network without a head (`num_classes=0`), with their width.

"""


def main() -> int:
    """Run all architectures without a good result."""
    return run_all("timm", lambda: ARCHITECTURES, measure, _render)


def measure(name: str, scratch: Path, report: Callable[[Progress], None]) -> tuple[TowerRow, Manifest]:
    """Build and export one architecture."""
    from tiny_timm import build_timm

    architecture, _, classes = name.partition(":")
    arguments: dict[str, Any] = {"num_classes": int(classes)} if classes else {}
    folder = build_timm(architecture, scratch / "model", **arguments)
    manifest = convert_briefly(job_in(scratch, architecture, "timm"), folder, report)
    return TowerRow(name=name, parameters=(folder / "model.safetensors").stat().st_size // 4), manifest


def _render(rows: dict[str, TowerRow]) -> str:
    proved = [rows[name] for name in sorted(ARCHITECTURES) if name in rows and not rows[name].error]
    lines = [f"{len(proved)} of {len(ARCHITECTURES)} are proved.\n"]
    lines += ["| architecture | parameters (M) | output | difference | exporter |", "| --- " * 5 + "|"]
    for row in proved:
        ((role, proof),) = row.verification.items()
        output = "logits" if role == "classifier" else "embedding"
        difference = max(proof.max_abs_diff, proof.padding_diff)
        lines.append(
            f"| {row.name.partition(':')[0]} | {row.parameters / 1e6:.1f} | {output}, {row.embedding_size} "
            f"| {difference:.0e} | {row.exporters.get('image', '')} |"
        )
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
